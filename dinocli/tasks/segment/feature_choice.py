"""Fine or coarse features for the anomaly method: chosen by the synthetic defects that each of them finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly import FEATURES, Anomaly, FittedAnomaly
from dinocli.segmentation.feature_extraction import FeatureExtraction
from dinocli.segmentation.sensitivity import (
    TRIED_IMAGES,
    DefectiveImage,
    Sensitivity,
    sensitivity,
    with_synthetic_defects,
)
from dinocli.tasks.embed.embed_setup import EmbedContext
from dinocli.tasks.segment.sample import Sample, extractor_of
from dinocli.tasks.segment.segment_options import SegmentOptions

MIN_FINE_SENSITIVITY = 0.5
"""Fraction of the synthetic defects from which on fine features are taken without trying coarse ones."""

LOW_SENSITIVITY = 0.25
"""Fraction below which the user is warned."""


@dataclass(frozen=True)
class FittedFeatures:
    """The anomaly method, fitted to one kind of features.

    Args:
        extractor: Reads images and computes the features.
        fitted: The fitted method.
        found: Synthetic defects that were found by each kind of features that was tried.
    """

    extractor: FeatureExtraction
    fitted: FittedAnomaly
    found: dict[str, Sensitivity] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, float | str]:
        """For the report: the kind of features, and how many synthetic defects each kind finds."""
        facts: dict[str, float | str] = {"features": self.fitted.features}
        for name, one in self.found.items():
            facts |= {"synthetic_defects": one.defects, f"found_by_{name}_features": one.found}
        return facts

    @property
    def sensitivity(self) -> float:
        """Fraction of the synthetic defects that is found."""
        one = self.found[self.fitted.features]
        return one.found / one.defects

    @property
    def said(self) -> str:
        """What was found, by which features, in one line."""
        (name, one), *others = sorted(self.found.items(), key=lambda item: item[0] != self.fitted.features)
        beside = "".join(f", {other} ones {two.found}" for other, two in others)
        return f"{name} features find {one.found} of {one.defects} synthetic defects{beside} (--features)"

    @property
    def warning(self) -> str:
        """A sentence for a method that finds few of the synthetic defects; else empty."""
        if not self.found or self.sensitivity >= LOW_SENSITIVITY:
            return ""
        one = self.found[self.fitted.features]
        advice = "" if self.fitted.scale.good else "; images without a defect as --reference find more"
        return f"{one.found} of {one.defects} synthetic defects in these images are found: expect misses{advice}"


def fit_features(
    context: EmbedContext, options: SegmentOptions, method: Anomaly, sample: Sample, reporter: ProgressReporter
) -> FittedFeatures:
    """Fit the method to fine or coarse features, and try it on synthetic defects in images of the sample.

    Tiles have fine features alone, and are not tried: the images are too large for it.

    Raises:
        UsageError: Coarse features were asked for, and cannot be computed.
    """

    def fit(features: str) -> FittedFeatures:
        kind = FEATURES[features]
        extractor = extractor_of(context, options, kind)
        return FittedFeatures(extractor, replace(method, features=features).fit(sample.grids(kind)))

    pictures = [] if options.tile else sample.pictures(TRIED_IMAGES)
    images = with_synthetic_defects(pictures, options.seed)
    if not any(defects for _, defects in images):  # nothing is visible on images of one colour
        return fit("fine" if method.features == "auto" else method.features)
    chosen = choose_features(fit, method.features, images)
    reporter.line(chosen.said)
    if chosen.warning:
        reporter.warn(chosen.warning)
    return chosen


def choose_features(
    fit: Callable[[str], FittedFeatures], asked: str, images: Sequence[DefectiveImage]
) -> FittedFeatures:
    """Fit the method to the features asked for, ``fine`` or ``coarse``, and count the synthetic defects that it finds.

    ``auto`` takes coarse features where fine ones find fewer than `MIN_FINE_SENSITIVITY` of the defects and coarse ones
    more of them.

    Args:
        fit: Fits the method to ``fine`` or ``coarse`` features.
        asked: ``auto``, ``fine`` or ``coarse``.
        images: With at least one defect in all.
    """

    def tried(features: str) -> FittedFeatures:
        one = fit(features)
        return replace(one, found={features: sensitivity(one.fitted, one.extractor, images)})

    if asked != "auto":
        return tried(asked)
    fine = tried("fine")
    if fine.sensitivity >= MIN_FINE_SENSITIVITY or not fine.extractor.has_coarse:
        return fine
    coarse = tried("coarse")
    chosen = coarse if coarse.sensitivity > fine.sensitivity else fine
    return replace(chosen, found=fine.found | coarse.found)
