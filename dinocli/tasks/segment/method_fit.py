"""Choose the method and fit it on a sample of the images, before the first image is segmented."""

from dataclasses import dataclass, replace
from pathlib import Path

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
from dinocli.tasks.embed.embed_setup import EmbedContext
from dinocli.tasks.segment.feature_choice import fit_features
from dinocli.tasks.segment.sample import Sample, extractor_of
from dinocli.tasks.segment.segment_options import SIZE, MethodUsed, SegmentOptions


@dataclass(frozen=True)
class FittedPlan:
    """A fitted method with its feature extractor; a `SegmentPlan`.

    Args:
        extractor: Reader of the images and extractor of their features.
        method: Method record for the report.
        fitted: The fitted method.
        warning: Warning about the fit for the report; empty for none.
    """

    extractor: FeatureExtraction
    method: MethodUsed
    fitted: FittedMethod
    warning: str = ""

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
        known = self.fitted.apply_known(picture.image) if isinstance(self.fitted, FittedAnomaly) else None
        return self.fitted.apply(self.extractor.grid(picture)) if known is None else known


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
        reporter.line(f"{name}: {value if isinstance(value, str) else format(value, '.4g')}")
    return FittedPlan(extractor, replace(used, parameters={**facts, **fitted.parameters}), fitted, warning)
