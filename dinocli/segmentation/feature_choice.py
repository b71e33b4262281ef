"""Features of the anomaly method: fine, coarse or both; and whether their distances are cluster-enhanced.

With good images, their held-out distances calibrate the sum of fine and coarse distances, and both are used. Without,
the number of synthetic defects that each alternative detects decides.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly import FEATURES, Anomaly, FittedAnomaly, distances
from dinocli.segmentation.feature_extraction import COARSE_REDUCTION, MIN_COARSE_SIDE, FeatureExtraction
from dinocli.segmentation.position_maps import MIN_ALIGNED_IMAGES
from dinocli.segmentation.sample import Sample
from dinocli.segmentation.segment_images import SegmentImage
from dinocli.segmentation.sensitivity import (
    TRIED_IMAGES,
    DefectiveImage,
    Sensitivity,
    sensitivity,
    with_synthetic_defects,
)

LOW_SENSITIVITY = 0.2
"""Fraction of detected synthetic defects below which a warning is given."""

ENOUGH = 0.5
"""Fraction of detected synthetic defects from which no alternative is tested."""

MIN_GAIN = 0.1
"""Fraction of the synthetic defects, five of 48 (three of 24), that an alternative has to detect more: fewer are
chance. With 24 alone, which features four draws of magnetic tiles got was chance."""


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
    def name(self) -> str:
        """`name_of` the fitted method."""
        return name_of(self.fitted)

    @property
    def facts(self) -> dict[str, float | str]:
        """Kind of features, and number of synthetic defects that each alternative detects, for the report."""
        facts: dict[str, float | str] = {"features": self.name}
        for name, count in self.found.items():
            facts |= {"synthetic_defects": count.defects, f"found_by_{name.replace(' ', '_')}_features": count.found}
        return facts

    @property
    def sensitivity(self) -> float:
        """Fraction of the synthetic defects that is detected."""
        count = self.found[self.name]
        return count.found / count.defects

    @property
    def summary(self) -> str:
        """Number of synthetic defects that each alternative detects, and what counts as normal, in one line."""
        (name, count), *others = sorted(self.found.items(), key=lambda item: item[0] != self.name)
        compared = "".join(f", {other} ones {other_count.found}" for other, other_count in others)
        normal = "" if self.fitted.scale.good else "; without --reference, a defect that most images have is normal"
        return f"{name} features find {count.found} of {count.defects} synthetic defects{compared} (--features){normal}"

    @property
    def warning(self) -> str:
        """Warning if few of the synthetic defects are detected; else empty."""
        if not self.found or self.sensitivity >= LOW_SENSITIVITY:
            return ""
        count = self.found[self.name]
        advice = "" if self.fitted.scale.good else "; images without a defect as --reference find more"
        return f"{count.found} of {count.defects} synthetic defects in these images are found: expect misses{advice}"


def name_of(fitted: FittedAnomaly) -> str:
    """Return the kind of features, with ``enhanced`` before it if their distances are cluster-enhanced."""
    return f"{'enhanced ' if fitted.scale.enhanced else ''}{fitted.features}"


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

    if method.features == "auto" and not sample.extraction.has_coarse and not sample.extraction.backbone.is_vit:
        least = COARSE_REDUCTION * MIN_COARSE_SIDE
        reporter.line(f"fine features only: coarse ones, for large defects, need --size {least} or more and no --tile")
    candidates = features_to_try(method, has_coarse=sample.extraction.has_coarse, images=len(sample))
    pictures = [] if sample.extraction.tiling else sample.pictures(2 * TRIED_IMAGES)
    images, more = drawn_in_turn(pictures, sample.seed)
    if not any(defects for _, defects in images):  # images of one colour show none
        return fit(candidates[0])
    chosen = choose_features(fit, candidates, images, more)
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


def drawn_in_turn(
    pictures: Sequence[SegmentImage], seed: int
) -> tuple[list[DefectiveImage], Callable[[], list[DefectiveImage]]]:
    """Draw synthetic defects into the first `TRIED_IMAGES` pictures; return these, and what draws them into the others.

    Args:
        pictures: Up to twice as many images.
        seed: Seed of the defects.
    """
    first, others = pictures[:TRIED_IMAGES], pictures[TRIED_IMAGES:]
    return with_synthetic_defects(first, seed), lambda: with_synthetic_defects(others, seed + 1)


def choose_features(
    fit: Callable[[str], FittedFeatures],
    candidates: Sequence[str],
    images: Sequence[DefectiveImage],
    more: Callable[[], Sequence[DefectiveImage]],
) -> FittedFeatures:
    """Choose features, and whether they are cluster-enhanced, by the number of synthetic defects that they detect.

    The next alternative is tested while fewer than `ENOUGH` of the defects are detected. It is chosen if it detects
    `MIN_GAIN` more than what was chosen before it. Where there is a choice to make, more images are used for it.

    Args:
        fit: Fits the method to features by name.
        candidates: One or two names of features.
        images: Images with at least one defect in total.
        more: Draws defects into further images.
    """
    first = _Tested.on(fit(candidates[0]), images)
    count = first.sensitivity()
    if count.found >= ENOUGH * count.defects or (len(candidates) == 1 and not first.can_be_enhanced):
        return replace(first.features, found={first.features.name: count})
    first = first.with_more(more())
    chosen, found = first.features, dict[str, Sensitivity]()
    for alternative, count in _alternatives(fit, candidates, first):
        found[alternative.name] = count
        if count.found >= found[chosen.name].found + MIN_GAIN * count.defects:
            chosen = alternative
        if found[chosen.name].found >= ENOUGH * count.defects:
            break
    return replace(chosen, found=found)


class _Tested(NamedTuple):
    """Fitted features, images with synthetic defects, and the distances (F, h, w) of each image."""

    features: FittedFeatures
    images: list[DefectiveImage]
    maps: list[NDArray[np.float32]]

    @classmethod
    def on(cls, features: FittedFeatures, images: Sequence[DefectiveImage]) -> "_Tested":
        banks, extractor = features.fitted.banks, features.extractor
        return cls(features, [*images], [distances(banks, extractor.grid(picture)) for picture, _ in images])

    def with_more(self, images: Sequence[DefectiveImage]) -> "_Tested":
        added = self.on(self.features, images)
        return self._replace(images=self.images + added.images, maps=self.maps + added.maps)

    @property
    def can_be_enhanced(self) -> bool:
        """Whether distances may be enhanced. Those to good images are not: a quarter of good leather was flagged."""
        scale = self.features.fitted.scale
        return scale.enough and not scale.good

    def enhanced(self) -> "_Tested":
        fitted = self.features.fitted
        enhanced = replace(fitted, scale=replace(fitted.scale, enhanced=True))
        return self._replace(features=replace(self.features, fitted=enhanced))

    def sensitivity(self) -> Sensitivity:
        return sensitivity(self.features.fitted, self.maps, self.images)


def _alternatives(
    fit: Callable[[str], FittedFeatures], candidates: Sequence[str], first: _Tested
) -> Iterator[tuple[FittedFeatures, Sensitivity]]:
    """Yield every kind of features, as it is and cluster-enhanced, each with what it detects."""
    for features in candidates:
        plain = first if features == candidates[0] else _Tested.on(fit(features), first.images)
        for tested in (plain, plain.enhanced()) if plain.can_be_enhanced else (plain,):
            yield tested.features, tested.sensitivity()
