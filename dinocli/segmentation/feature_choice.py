"""Features of the anomaly method: fine, coarse or both.

With good images, their held-out distances calibrate the sum of fine and coarse distances, and both are used. Without,
the number of synthetic defects that each kind detects decides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly import FEATURES, Anomaly, FittedAnomaly
from dinocli.segmentation.distance_scale import MIN_ALIGNED_IMAGES
from dinocli.segmentation.feature_extraction import FeatureExtraction
from dinocli.segmentation.sample import Sample
from dinocli.segmentation.sensitivity import (
    TRIED_IMAGES,
    DefectiveImage,
    Sensitivity,
    sensitivity,
    with_synthetic_defects,
)

LOW_SENSITIVITY = 0.2
"""Fraction of detected synthetic defects below which coarse features are tested and a warning is given. Fine features
detect 0 to 0.17 of them on magnetic tiles, and 0.25 or more on the textures and parts tested."""

MIN_GAIN = 0.125
"""Fraction of the synthetic defects, three of 24, that coarse features have to detect more than the first candidate:
fewer are chance, and on textures with small defects coarse features cost most of the masks."""


@dataclass(frozen=True)
class FittedFeatures:
    """The anomaly method, fitted to one kind of features.

    Args:
        extractor: Reader of the images and extractor of the features.
        fitted: The fitted method.
        found: Detected synthetic defects, by each kind of features that was tried.
    """

    extractor: FeatureExtraction
    fitted: FittedAnomaly
    found: dict[str, Sensitivity] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, float | str]:
        """Kind of features, and number of synthetic defects that each kind detects, for the report."""
        facts: dict[str, float | str] = {"features": self.fitted.features}
        for name, count in self.found.items():
            facts |= {"synthetic_defects": count.defects, f"found_by_{name}_features": count.found}
        return facts

    @property
    def sensitivity(self) -> float:
        """Fraction of the synthetic defects that is detected."""
        count = self.found[self.fitted.features]
        return count.found / count.defects

    @property
    def summary(self) -> str:
        """Number of synthetic defects that each kind of features detects, and what counts as normal, in one line."""
        (name, count), *others = sorted(self.found.items(), key=lambda item: item[0] != self.fitted.features)
        compared = "".join(f", {other} ones {other_count.found}" for other, other_count in others)
        normal = "" if self.fitted.scale.good else "; without --reference, a defect that most images have is normal"
        return f"{name} features find {count.found} of {count.defects} synthetic defects{compared} (--features){normal}"

    @property
    def warning(self) -> str:
        """Warning if few of the synthetic defects are detected; else empty."""
        if not self.found or self.sensitivity >= LOW_SENSITIVITY:
            return ""
        count = self.found[self.fitted.features]
        advice = "" if self.fitted.scale.good else "; images without a defect as --reference find more"
        return f"{count.found} of {count.defects} synthetic defects in these images are found: expect misses{advice}"


def fit_features(method: Anomaly, sample: Sample, reporter: ProgressReporter) -> FittedFeatures:
    """Fit the method to fine features, coarse ones or both, and test it on synthetic defects in images of the sample.

    Tiled images have fine features only and are not tested, because they are too large for it.

    Raises:
        UsageError: Coarse features were requested and cannot be computed.
    """

    def fit(features: str) -> FittedFeatures:
        kind = FEATURES[features]
        extractor = replace(sample.extraction, feature_kind=kind)
        return FittedFeatures(extractor, replace(method, features=features).fit(sample.grids(kind)))

    candidates = features_to_try(method, has_coarse=sample.extraction.has_coarse, images=len(sample))
    pictures = [] if sample.extraction.tiling else sample.pictures(TRIED_IMAGES)
    images = with_synthetic_defects(pictures, sample.seed)
    if not any(defects for _, defects in images):  # images of one colour show none
        return fit(candidates[0])
    chosen = choose_features(fit, candidates, images)
    reporter.line(chosen.summary)
    if chosen.warning:
        reporter.warn(chosen.warning)
    return chosen


def features_to_try(method: Anomaly, *, has_coarse: bool, images: int) -> tuple[str, ...]:
    """Return the features to try, by name; those of ``auto`` depend on the sample.

    Args:
        method: Method with its ``features``.
        has_coarse: Whether coarse features can be computed.
        images: Number of images of the sample.
    """
    if method.features != "auto":
        return (method.features,)
    if not has_coarse:
        return ("fine",)
    held_out = method.reference and images >= MIN_ALIGNED_IMAGES
    return ("both" if held_out else "fine", "coarse")


def choose_features(
    fit: Callable[[str], FittedFeatures], candidates: Sequence[str], images: Sequence[DefectiveImage]
) -> FittedFeatures:
    """Fit the method to the first features, and count the synthetic defects that it detects.

    The second features are selected if the first ones detect fewer than `LOW_SENSITIVITY` of the defects and the second
    ones `MIN_GAIN` more.

    Args:
        fit: Fits the method to features by name.
        candidates: One or two names of features.
        images: Images with at least one defect in total.
    """

    def tested(name: str) -> FittedFeatures:
        fitted = fit(name)
        return replace(fitted, found={name: sensitivity(fitted.fitted, fitted.extractor, images)})

    first = tested(candidates[0])
    if first.sensitivity >= LOW_SENSITIVITY or len(candidates) == 1:
        return first
    second = tested(candidates[1])
    chosen = second if second.sensitivity >= first.sensitivity + MIN_GAIN else first
    return replace(chosen, found=first.found | second.found)
