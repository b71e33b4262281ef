"""Source of newly computed maps: weights, method, and its fit on a sample of the images."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from dinocli.data.read import Reader
from dinocli.data.region_of_interest import region_box
from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly import Anomaly, FittedAnomaly
from dinocli.segmentation.distance_scale import DistanceScale
from dinocli.segmentation.feature_extraction import FeatureExtraction, check_tiling
from dinocli.segmentation.method import FittedMethod, Method, PatchMaps
from dinocli.segmentation.method_choice import make_method, pick_method
from dinocli.segmentation.output_names import natural_order
from dinocli.segmentation.propagate import Propagation, first_labels
from dinocli.segmentation.segment_images import SegmentImage, SegmentReader
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import EmbedContext, prepare
from dinocli.tasks.segment.detector import open_detector, save_detector
from dinocli.tasks.segment.feature_choice import fit_features
from dinocli.tasks.segment.reference_copies import ReferenceCopies
from dinocli.tasks.segment.sample import Sample, extractor_of
from dinocli.tasks.segment.segment_options import SIZE, MethodUsed, SegmentOptions
from dinocli.tasks.segment.segment_outputs import check_new_detector
from dinocli.tasks.segment.segment_plan import SegmentInputs


@dataclass(frozen=True)
class FittedPlan:
    """A fitted method with its feature extractor; a `SegmentPlan`.

    Args:
        extractor: Reader of the images and extractor of their features.
        method: Method record for the report.
        fitted: The fitted method.
        warning: Warning about the fit for the report; empty for none.
        copies: Recognises reference images among the tested ones; None without a reference.
    """

    extractor: FeatureExtraction
    method: MethodUsed
    fitted: FittedMethod
    warning: str = ""
    copies: ReferenceCopies | None = None

    @property
    def reader(self) -> SegmentReader:
        """Reader of the images."""
        return self.extractor.reader

    @property
    def scale(self) -> DistanceScale | None:
        """Scale of the distances; None for a method without distances."""
        return self.fitted.scale if isinstance(self.fitted, FittedAnomaly) else None

    def maps(self, picture: SegmentImage) -> PatchMaps:
        """Return the maps of an image; distances of the anomaly method's sample are known from the fit."""
        if self.copies:
            picture = replace(picture, image=self.copies.tested_number(picture))
        known = self.fitted.apply_known(picture.image) if isinstance(self.fitted, FittedAnomaly) else None
        return self.fitted.apply(self.extractor.grid(picture)) if known is None else known


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
        inputs: Images of the command.

    Raises:
        DinocliError: Any error, before any image is computed.
    """

    def __init__(
        self, options: SegmentOptions, reporter: ProgressReporter, stdin: BinaryIO | None, method: Method | None = None
    ) -> None:
        self._detector = open_detector(options) if options.detector else None
        if options.save_detector:
            check_new_detector(options)
        self.options = options = self._detector.options if self._detector else options
        self._reporter, self._method = reporter, method
        self.context = prepare(EmbedOptions.of(options, tokens="pooled", precision=options.precision), reporter, stdin)
        if options.stride:
            self.context.backbone.set_stride(options.stride)
        context = self.context
        self.inputs = SegmentInputs(context.images, context.info.to_dict(), context.data, context.run)

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

    def chosen(self) -> tuple[Method, MethodUsed]:
        """Return the chosen method, and its record before the fit."""
        if self._detector:
            features = self._detector.fitted.features
            return Anomaly(features=features), MethodUsed("anomaly", f"detector {self._detector.folder}")
        return choose(self.context, self.options, Sample(self.context, self.options, self._reporter))

    def forecast(self) -> dict[str, Any]:
        """Return the chosen method, and the canvas and grid of the first image, as JSON-like data."""
        context, options, (method, used) = self.context, self.options, self.chosen()
        extractor = extractor_of(context, options, method.feature_kind)
        check_tiling(used.name, extractor.tiling, whole_image_only=method.whole_image_only)
        geometry = extractor.reader.geometry(Reader(context.preprocess, SIZE).size(context.images.path(0)))
        return {
            "out": options.out,
            "images": len(context.images),
            "root": str(context.images.root),
            "method": used.name,
            "reason": used.reason,
            "model": context.info.name,
            "canvas": "{1}x{0}".format(*geometry.canvas),
            "grid": "{1}x{0}".format(*geometry.grid),
            "tile": options.tile,
            "precision": context.precision,
            "device": str(context.device),
        }

    def plan(self) -> FittedPlan:
        """Fit the method on a sample of the images.

        Raises:
            UsageError: The method does not support tiles, or these weights.
        """
        if self._detector:
            fitted, (_, used) = self._detector.fitted, self.chosen()
            extractor = extractor_of(self.context, self.options, fitted.feature_kind)
            parameters = {"features": fitted.features, **fitted.parameters}
            return FittedPlan(extractor, replace(used, parameters=parameters), fitted)
        sample = Sample(self.context, self.options, self._reporter)
        plan = fitted_plan(self.context, self.options, sample, self._reporter, self._method)
        if self.options.save_detector:
            save_detector(self.options, self.context, plan.method.name, plan.fitted)
            self._reporter.line(f"detector {self.options.save_detector}")
        return plan


def choose(context: EmbedContext, options: SegmentOptions, sample: Sample) -> tuple[Method, MethodUsed]:
    """Return the method of the options, for `auto` the one that suits the sample, and its record before the fit.

    Raises:
        UsageError: Method, options and backbone do not fit together.
    """
    if options.propagate:
        images = context.images
        first = images.path(natural_order(images.names)[0])
        mask = first_labels(Path(options.propagate), first, Reader(context.preprocess, SIZE))
        left, top, width, height = region_box(context.preprocess.roi) or (0, 0, *mask.labels_HW.shape[::-1])
        first_HW = mask.labels_HW[top : top + height, left : left + width]
        return Propagation(first_HW), MethodUsed("propagate", mask.note)
    name, reason = options.method, ""
    if name == "auto" and (options.reference or options.tile):
        name = "anomaly"
        reason = (
            "there are good images to compare with" if options.reference else "tiles show surfaces, not whole objects"
        )
    elif name == "auto":
        name, reason = pick_method(context.backbone, sample.grids)
    method = make_method(
        name, options.method_options, context.backbone, reference=bool(options.reference), seed=options.seed
    )
    return method, MethodUsed(name, reason)


def fitted_plan(
    context: EmbedContext, options: SegmentOptions, sample: Sample, reporter: ProgressReporter, method: Method | None
) -> FittedPlan:
    """Choose the method and fit it on the sample.

    Args:
        context: Weights and preprocessing.
        options: Options of the command.
        sample: Sample of the images, or of the reference images.
        reporter: Receives the choice and the fitted parameters.
        method: A custom method instead of that of the options.

    Raises:
        UsageError: Method, options and backbone do not fit together.
    """
    method, used = (method, MethodUsed(options.method)) if method else choose(context, options, sample)
    extractor = extractor_of(context, options, method.feature_kind)
    check_tiling(used.name, extractor.tiling, whole_image_only=method.whole_image_only)
    if used.reason:
        reporter.line(f"method {used.name}: {used.reason}")
    reporter.stage("fitting the method")
    facts, warning = dict[str, float | str](), ""
    if isinstance(method, Anomaly):
        features = fit_features(context, options, method, sample, reporter)
        extractor, facts, warning = features.extractor, features.facts, features.warning
        fitted: FittedMethod = features.fitted
    else:
        fitted = method.fit(sample.grids(method.feature_kind))
    for name, value in fitted.parameters.items():
        reporter.line(f"{name.replace('_', ' ')}: {value if isinstance(value, str) else format(value, '.4g')}")
    used = replace(used, parameters={**facts, **fitted.parameters})
    return FittedPlan(extractor, used, fitted, warning, sample.copies)
