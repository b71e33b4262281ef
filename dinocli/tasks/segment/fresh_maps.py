"""Source of newly computed maps: weights, method, and its fit on a sample of the images."""

from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dinocli.artifacts.detector_folder import Detector
from dinocli.artifacts.run_folder import RunFolder
from dinocli.data.file_copies import same_files
from dinocli.data.image_list import ImageList
from dinocli.data.parallel import thread_count
from dinocli.data.read import Reader
from dinocli.data.region_of_interest import region_box
from dinocli.data.sources import find_images
from dinocli.data.tiling import parse_tiling
from dinocli.errors import counted
from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly import Anomaly, FittedAnomaly
from dinocli.segmentation.feature_choice import fit_features, name_of
from dinocli.segmentation.feature_extraction import FeatureExtraction, check_tiling
from dinocli.segmentation.method import FeatureKind, FittedMethod, Method, PatchMaps
from dinocli.segmentation.method_choice import make_method, pick_method
from dinocli.segmentation.method_options import check_method, parse_query
from dinocli.segmentation.output_names import natural_order
from dinocli.segmentation.propagate import Propagation, first_labels
from dinocli.segmentation.reference_copies import ReferenceCopies
from dinocli.segmentation.sample import Sample
from dinocli.segmentation.segment_images import SegmentImage
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import prepare
from dinocli.tasks.segment.detector import keep_detector, open_detector
from dinocli.tasks.segment.segment_options import SIZE, MethodUsed, SegmentOptions
from dinocli.tasks.segment.segment_plan import SegmentPlan


class FreshMaps:
    """Images and weights of a command; `plan` fits the method.

    Args:
        options: Options of the command.
        reporter: Receives the progress.
        stdin: Standard input, for `-`.
        method: A custom method instead of `options.method`.

    Attributes:
        options: Options, completed by those of a detector.
        context: Weights and preprocessing.
        images: Images of the command.
        run: Training run of the weights; None for other weights.

    Raises:
        DinocliError: Any error, before any image is computed.
    """

    def __init__(
        self, options: SegmentOptions, reporter: ProgressReporter, stdin: BinaryIO | None, method: Method | None = None
    ) -> None:
        opened: tuple[Detector | None, SegmentOptions] = open_detector(options) if options.detector else (None, options)
        self._detector, self.options = opened
        options.check_detector()
        options = self.options
        self._reporter, self._method = reporter, method
        embedding = EmbedOptions.of(options, tokens="pooled", precision=options.precision)
        detector = f"detector {self._detector.folder}" if self._detector else ""
        self.context = prepare(embedding, reporter, stdin, reading_of=detector)
        if options.stride:
            self.context.backbone.set_stride(options.stride)
        self.images: ImageList = self.context.images
        self.run: RunFolder | None = self.context.run
        self._extraction = FeatureExtraction(
            self.context.backbone,
            self.context.preprocess,
            FeatureKind.PATCHES,
            self.context.device,
            options.canvas_side,
            parse_tiling(options.tile),
            parse_query(options.query),
            autocast=self.context.autocast,
        )

    def request(self) -> dict[str, Any]:
        """Return the settings that determine the masks, besides the options."""
        return {
            "model": self.context.info.name,
            "weights sha256": self.context.info.sha256,
            "images": self.context.images.digest(),
            "preprocess": self.context.preprocess.to_dict(),
            "precision": self.context.precision,
            "detector": self._detector.digest if self._detector else "",
        }

    def forecast(self) -> dict[str, Any]:
        """Return the chosen method, and the canvas and grid of the first image, as JSON-like data."""
        context, (method, used) = self.context, self._chosen()
        reader = self._extractor(method, used).reader
        geometry = reader.geometry(Reader(context.preprocess, SIZE).size(context.images.path(0)))
        return {
            "out": self.options.out,
            "images": len(context.images),
            "root": str(context.images.root),
            "method": used.name,
            "reason": used.reason,
            "model": context.info.name,
            "canvas": "{1}x{0}".format(*geometry.canvas),
            "grid": "{1}x{0}".format(*geometry.grid),
            "tile": self.options.tile,
            "precision": context.precision,
            "device": str(context.device),
        }

    def plan(self) -> SegmentPlan:
        """Choose the method, and fit it on a sample of the images.

        Raises:
            UsageError: Method, options and backbone do not fit together.
        """
        method, used = self._chosen()
        extractor = self._extractor(method, used)
        if self._detector:
            parameters = {"features": name_of(self._detector.fitted), **self._detector.fitted.parameters}
            return self._planned(extractor, replace(used, parameters=parameters), self._detector.fitted)
        if used.reason:
            self._reporter.line(f"method {used.name}: {used.reason}")
        self._reporter.stage("fitting the method")
        facts, warning = dict[str, float | str](), ""
        if isinstance(method, Anomaly):
            features = fit_features(method, self._sample, self._reporter)
            extractor, facts, warning = features.extractor, features.facts, features.warning
            fitted: FittedMethod = features.fitted
        else:
            fitted = method.fit(self._sample.grids(method.feature_kind))
        for name, value in fitted.parameters.items():
            self._reporter.line(
                f"{name.replace('_', ' ')}: {value if isinstance(value, str) else format(value, '.4g')}"
            )
        if self.options.save_detector:
            keep_detector(self.options, self.context, used.name, fitted)
            self._reporter.line(f"detector {self.options.save_detector}")
        return self._planned(extractor, replace(used, parameters={**facts, **fitted.parameters}), fitted, warning)

    @cached_property
    def _sample(self) -> Sample:
        options, images, copies = self.options, self.images, None
        if options.reference:
            images = find_images([options.reference], exclude=options.read.exclude, window=options.read.window)
            for note in images.notes:
                self._reporter.line(f"--reference {options.reference}: {note}")
            copies = ReferenceCopies(images, self.images, options.reference, self._reporter)
        repeated = {} if copies or self._detector else self._copies
        distinct = [row for row in range(len(images)) if row not in repeated]
        count = min(options.sample, len(distinct))
        chosen = np.random.default_rng(options.seed).choice(len(distinct), count, replace=False)
        rows = sorted(distinct[place] for place in chosen.tolist())
        threads = thread_count(self.context.data.workers)
        return Sample(images, rows, self._extraction, options.seed, threads, self._reporter, copies)

    @cached_property
    def _copies(self) -> dict[int, int]:
        """The first of equal files by the row of each other one: copies are not evidence that a defect is common."""
        found = {other: rows[0] for rows in same_files(list(self.images.paths())) for other in rows[1:]}
        if found:
            number = counted(len(found), "image")
            self._reporter.line(f"exact copies of others: {number}, which count once, and get the masks of the others")
        return found

    def _chosen(self) -> tuple[Method, MethodUsed]:
        """Return the method of the options, for `auto` the one that suits the sample, and its record before the fit."""
        options, backbone = self.options, self.context.backbone
        if self._detector:
            features = self._detector.fitted.features
            return Anomaly(features=features), MethodUsed("anomaly", f"detector {self._detector.folder}")
        sample = self._sample  # lists the --reference, also for a method that needs no sample
        if self._method:
            return self._method, MethodUsed(options.method)
        if options.propagate:
            return self._propagation()
        name, reason = options.method, ""
        if name == "auto" and options.reference:
            name, reason = "anomaly", "there are good images to compare with"
        elif name == "auto" and options.tile:
            name, reason = "anomaly", "tiles show surfaces, not whole objects"
        elif name == "auto":
            name, reason = pick_method(sample, self.context.info.similarity_change)
        check_method(name, options.options_of_methods)  # again, now that `auto` is resolved
        given, reference = options.method_options, bool(options.reference)
        return make_method(name, given, backbone, reference=reference, seed=options.seed), MethodUsed(name, reason)

    def _propagation(self) -> tuple[Method, MethodUsed]:
        images, preprocess = self.context.images, self.context.preprocess
        first = images.path(natural_order(images.names)[0])
        mask = first_labels(Path(self.options.propagate), first, Reader(preprocess, SIZE))
        left, top, width, height = region_box(preprocess.roi) or (0, 0, *mask.labels_HW.shape[::-1])
        first_HW = mask.labels_HW[top : top + height, left : left + width]
        return Propagation(first_HW), MethodUsed("propagate", mask.note)

    def _extractor(self, method: Method, used: MethodUsed) -> FeatureExtraction:
        extractor = replace(self._extraction, feature_kind=method.feature_kind)
        check_tiling(used.name, extractor.tiling, whole_image_only=method.whole_image_only)
        return extractor

    def _planned(
        self, extractor: FeatureExtraction, used: MethodUsed, fitted: FittedMethod, warning: str = ""
    ) -> SegmentPlan:
        scale, weights = fitted.scale if isinstance(fitted, FittedAnomaly) else None, self.context.info.to_dict()
        maps = partial(self._maps, extractor, fitted)
        return SegmentPlan(self.images, weights, self.context.data, extractor.reader, used, maps, scale, warning)

    def _maps(self, extractor: FeatureExtraction, fitted: FittedMethod, picture: SegmentImage) -> PatchMaps:
        """Return the maps of an image; distances of the anomaly method's sample are known from the fit."""
        if self._sample.copies:
            picture = replace(picture, image=self._sample.copies.tested_number(picture))
        elif not self._detector and isinstance(fitted, FittedAnomaly):
            picture = replace(picture, image=self._copies.get(picture.image, picture.image))
        known = fitted.apply_known(picture.image) if isinstance(fitted, FittedAnomaly) else None
        return fitted.apply(extractor.grid(picture)) if known is None else known
