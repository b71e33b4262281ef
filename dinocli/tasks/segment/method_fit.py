"""Choose the method and fit it on a sample of the images, before the first image is segmented."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dinocli.data.read import Reader
from dinocli.data.region_of_interest import region_box
from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly import Anomaly, FittedAnomaly
from dinocli.segmentation.attention_mask import MASS, mass_below
from dinocli.segmentation.distance_scale import DistanceScale
from dinocli.segmentation.feature_extraction import FeatureExtraction, check_tiling
from dinocli.segmentation.method import FeatureKind, FittedMethod, Method
from dinocli.segmentation.method_choice import make_method, pick_method
from dinocli.segmentation.output_names import natural_order
from dinocli.segmentation.propagate import Propagation, first_labels
from dinocli.segmentation.segment_images import SegmentImage, SegmentReader
from dinocli.tasks.embed.embed_setup import EmbedContext
from dinocli.tasks.segment.feature_choice import fit_features
from dinocli.tasks.segment.sample import Sample, extractor_of
from dinocli.tasks.segment.segment_options import SIZE, MethodUsed, SegmentOptions
from dinocli.tasks.segment.segment_plan import ImageMaps


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
        facts: What else was settled for the folder, for the report: the choice of features.
        warning: What the user should know of the fit; empty if nothing.
    """

    extractor: FeatureExtraction
    chosen: Chosen
    fitted: FittedMethod
    facts: Mapping[str, float | str] = field(default_factory=dict)
    warning: str = ""

    @property
    def reader(self) -> SegmentReader:
        """Reader of the images."""
        return self.extractor.reader

    @property
    def method(self) -> MethodUsed:
        """Method record for the report."""
        return MethodUsed(self.chosen.name, self.chosen.reason, {**self.facts, **self.fitted.parameters})

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
    if isinstance(method, Anomaly):
        features = fit_features(context, options, method, sample, reporter)
        plan = FittedPlan(features.extractor, chosen, features.fitted, features.facts, features.warning)
    else:
        plan = FittedPlan(extractor, chosen, method.fit(sample.grids(method.feature_kind)))
    for fact, value in plan.fitted.parameters.items():
        reporter.line(f"{fact}: {value if isinstance(value, str) else format(value, '.4g')}")
    return plan
