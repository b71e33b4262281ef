"""Choose the method and fit it on a sample of the images, before the first image is segmented."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np

from dinocli.data.file_copies import equal_files
from dinocli.data.parallel import thread_count
from dinocli.data.read import Reader
from dinocli.data.region_of_interest import region_box
from dinocli.data.sources import ImageList, find_images
from dinocli.data.tiling import parse_tiling
from dinocli.errors import DataError
from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly import FittedAnomaly
from dinocli.segmentation.attention_mask import MASS, mass_below
from dinocli.segmentation.distance_scale import DistanceScale
from dinocli.segmentation.feature_extraction import FeatureExtraction, check_tiling
from dinocli.segmentation.method import FeatureGrid, FeatureKind, FittedMethod, Method
from dinocli.segmentation.method_choice import make_method, pick_method
from dinocli.segmentation.output_names import natural_order
from dinocli.segmentation.propagate import Propagation, first_labels
from dinocli.segmentation.segment_images import SegmentImage, SegmentReader
from dinocli.tasks.embed.embed_setup import EmbedContext
from dinocli.tasks.segment.segment_options import SIZE, MethodUsed, SegmentOptions
from dinocli.tasks.segment.segment_plan import ImageMaps

SAMPLE_BYTES = 1 << 30
"""Maximum size of the feature grids that a method is fitted on; of large images fewer are sampled."""


@dataclass(frozen=True)
class Chosen:
    """A method, its name, and the reason for its choice; the reason is empty if the user chose it."""

    name: str
    method: Method
    reason: str = ""


@dataclass(frozen=True)
class FittedPlan:
    """A fitted method with its feature extractor; a `SegmentPlan`.

    Args:
        extractor: Reads images and computes their features.
        chosen: The chosen method.
        fitted: The fitted method.
    """

    extractor: FeatureExtraction
    chosen: Chosen
    fitted: FittedMethod

    @property
    def reader(self) -> SegmentReader:
        """Reader of the images."""
        return self.extractor.reader

    @property
    def method(self) -> MethodUsed:
        """Method record for the report."""
        return MethodUsed(self.chosen.name, self.chosen.reason, self.fitted.parameters)

    @property
    def scale(self) -> DistanceScale | None:
        """Scale of the distances; None for a method without distances."""
        return self.fitted.scale if isinstance(self.fitted, FittedAnomaly) else None

    def maps(self, picture: SegmentImage, *, heads: bool) -> ImageMaps:
        """Return the maps of an image; distances of the anomaly method's sample are known from the fit."""
        known = self.fitted.apply_known(picture.image) if isinstance(self.fitted, FittedAnomaly) else None
        if known is not None:
            return ImageMaps(known, None)
        grid = self.extractor.grid(picture)
        heads_nhw = None
        if heads and self.extractor.feature_kind == FeatureKind.ATTENTION:
            heads_nhw = np.stack([mass_below(head_hw) > 1 - MASS for head_hw in grid.values_hwD.transpose(2, 0, 1)])
        return ImageMaps(self.fitted.apply(grid), heads_nhw)


class Sample:
    """Features of a random sample of the images, or of the reference images.

    Args:
        context: Weights and preprocessing.
        options: Options of the command.
        reporter: Receives the progress.
    """

    def __init__(self, context: EmbedContext, options: SegmentOptions, reporter: ProgressReporter) -> None:
        self._context, self._options, self._reporter = context, options, reporter
        self._images: ImageList = find_images([options.reference]) if options.reference else context.images
        self._numbers = self._reference_numbers() if options.reference else {}
        random = np.random.default_rng(options.seed)
        count = min(options.sample, len(self._images))
        self._rows: list[int] = sorted(random.choice(len(self._images), count, replace=False).tolist())

    def grids(self, feature_kind: FeatureKind) -> Sequence[FeatureGrid]:
        """Return the feature grids of the sample, at most `SAMPLE_BYTES` but at least one.

        Images are read on first use, since some methods need none. Reading raises `DataError` if no image is readable.
        """
        return _Later(self._extracted(feature_kind))

    def _reference_numbers(self) -> dict[int, int]:
        """Return the image number of each reference image: that of its byte-identical test image, or a negative number.

        An image is not compared with patches of its own number, so that a copy of it does not hide its defect.
        """
        equal = equal_files(self._images.paths(), self._context.images.paths())
        if equal:
            self._reporter.warn(
                f"{len(equal)} of {len(self._images)} images in --reference {self._options.reference} are among the "
                f"tested images; none is compared with itself, but their defects count as good for the others"
            )
        return {row: equal.get(row, -1 - row) for row in range(len(self._images))}

    def _extracted(self, feature_kind: FeatureKind) -> Iterator[FeatureGrid]:
        extractor, seen, room = extractor_of(self._context, self._options, feature_kind), 0, SAMPLE_BYTES
        for number, picture in enumerate(
            extractor.reader.read_images(self._images, self._rows, _threads(self._context)), start=1
        ):
            self._reporter.progress("looking at a sample", number, len(self._rows))
            if isinstance(picture, SegmentImage):
                grid = extractor.grid(picture)
                yield replace(grid, image=self._numbers[grid.image]) if self._options.reference else grid
                seen, room = seen + 1, room - grid.values_hwD.nbytes
            if room < 0:
                break
        if not seen:
            raise DataError(f"none of {len(self._rows)} sampled images in {self._images.root} can be read")


class _Later(Sequence[FeatureGrid]):
    """A list whose items are computed on first use."""

    def __init__(self, items: Iterator[FeatureGrid]) -> None:
        self._items = items
        self._made: list[FeatureGrid] = []

    def __len__(self) -> int:
        self._made.extend(self._items)
        return len(self._made)

    @overload
    def __getitem__(self, place: int) -> FeatureGrid: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[FeatureGrid]: ...
    def __getitem__(self, place: int | slice) -> FeatureGrid | Sequence[FeatureGrid]:
        stop = place.stop if isinstance(place, slice) else place + 1
        if stop is None or stop <= 0:
            return self._made[place] if len(self) else self._made
        self._made.extend(islice(self._items, max(0, stop - len(self._made))))
        return self._made[place]


def choose(context: EmbedContext, options: SegmentOptions, sample: Sample) -> Chosen:
    """Return the method of the options; for `auto`, the one that suits the sample.

    Raises:
        UsageError: Method, options and backbone do not fit together.
    """
    if options.propagate:
        images = context.images
        first = images.path(natural_order(images.names)[0])
        mask = first_labels(Path(options.propagate), first, Reader(context.preprocess, SIZE))
        left, top, width, height = region_box(context.preprocess.roi) or (0, 0, *mask.labels_HW.shape[::-1])
        return Chosen("propagate", Propagation(mask.labels_HW[top : top + height, left : left + width]), mask.note)
    name, reason = options.method, ""
    if name == "auto" and (options.reference or options.tile):
        name = "anomaly"
        reason = (
            "there are good images to compare with" if options.reference else "tiles show surfaces, not whole objects"
        )
    elif name == "auto":
        name, reason = pick_method(context.backbone, sample.grids)
    made = make_method(
        name, options.method_options, context.backbone, reference=bool(options.reference), seed=options.seed
    )
    return Chosen(name, made, reason)


def extractor_of(context: EmbedContext, options: SegmentOptions, feature_kind: FeatureKind) -> FeatureExtraction:
    """Return the feature extractor for the options."""
    tiling = parse_tiling(options.tile) if options.tile else None
    size = options.size or (0 if tiling else SIZE)
    query = options.query_point() if feature_kind == FeatureKind.ATTENTION else None
    return FeatureExtraction(
        context.backbone,
        context.preprocess,
        feature_kind,
        context.device,
        size,
        tiling,
        query,
        autocast=context.autocast,
    )


def fitted_plan(
    context: EmbedContext, options: SegmentOptions, chosen: Chosen, sample: Sample, reporter: ProgressReporter
) -> FittedPlan:
    """Fit the method on the sample.

    Raises:
        UsageError: The method does not support tiles, or these weights.
    """
    method = chosen.method
    extractor = extractor_of(context, options, method.feature_kind)
    check_tiling(chosen.name, extractor.tiling, whole_image_only=method.whole_image_only)
    if chosen.reason:
        reporter.line(f"method {chosen.name}: {chosen.reason}")
    reporter.stage("fitting the method")
    fitted = method.fit(sample.grids(method.feature_kind))
    for fact, value in fitted.parameters.items():
        reporter.line(f"{fact}: {value if isinstance(value, str) else format(value, '.4g')}")
    return FittedPlan(extractor, chosen, fitted)


def _threads(context: EmbedContext) -> int:
    return thread_count(context.data.workers)
