"""Calibration of nearest-neighbour distances: from patch distances to anomaly scores, thresholds and masks.

A distance is corrected in three steps:

- *position*: in aligned images, some positions match worse than others (edges, glints) and vary more. The median over
  the folder at each position is subtracted; the residual is divided by the relative spread at that position where this
  exceeds 1. Without alignment both are nearly constant, except at the border.
- *image*: the median over the image is subtracted, because lighting shifts all patches and a defect shifts a few.
- *threshold*: see `DistanceScale.line`. It can reject all images or none.

Distances of two kinds of features, fine and coarse, are added: a region is detected by their weighted sum, or by its
`cluster_enhanced` heights, and outlined as in `outlined`.

The input is distances, not features, so `segment --from` applies another threshold to stored distances.

Legend: F kinds of features, the fine ones first; h w rows and columns of the grid, S images of the sample, P rows and
columns of the position maps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.image_scores import image_score
from dinocli.segmentation.anomaly_threshold import AUTO, Threshold, distance_at, good_line, mixed_line, soft_value
from dinocli.segmentation.cluster_enhancement import cluster_enhanced
from dinocli.segmentation.method import PatchMaps
from dinocli.segmentation.peak_outlines import outlined
from dinocli.segmentation.position_maps import MIN_ALIGNED_IMAGES, PLACES, corrected, corrected_kinds, typical_places

EXPONENTIAL_FALSE_RATE = 0.01
"""Target fraction of good images with a patch above the threshold, for an exponential tail. Real tails are heavier: a
target of 0.05 flagged 13 of 100 textures without a defect."""

COARSE_WEIGHT = 1 / 3
"""Weight of the coarse distances beside the fine ones, each divided by the median maximum of the images. From 1/4 to
1/2 the threshold of good images finds more defects and flags fewer good images than that of fine distances alone."""

ROUNDING = 1e-3
"""Smallest decay length, as a fraction of the usual distance: the distances of equal images differ by rounding only."""

MIN_MIXED_IMAGES = 12
"""Minimum number of images for the distribution of the lower maxima of a mixed folder."""

OTHER_SCENE = 2.0
"""Median coarse distance of an image, relative to the largest of a good image, above which it is unlike them as a
whole: its part is missing, or it shows something else. On 22 folders good images have at most 1.3, defective ones 1.5,
and in light changed by 30 % at most 1.3. Photographs, black and white images have 2 to 6 on most; images without the
part 2.5 to 5 where parts have structure, and 1 to 2 on rough surfaces, where they are not recognised."""


@dataclass(frozen=True)
class DistanceScale:
    """Distribution of the distances of a folder, by which further distances are corrected and thresholded.

    Args:
        place_FPP: Offset subtracted at each position, on a grid over the whole image.
        spread_FPP: Divisor at each position, 1 or more.
        level: Median over images of their median (fine) distance after the offset is subtracted.
        middle: Median of the corrected distances (of their weighted sum).
        fall: Decay length of the exponential tail: the corrected distance over which density falls by a factor e.
        maxima_FS: Largest corrected distance of each image of the sample.
        maxima_S: Largest weighted sum of each image of the sample.
        enhanced_S: Largest cluster-enhanced height of the weighted sum of each image.
        good: The sample consists of images known to be good.
        enhanced: Cluster-enhanced heights are compared with the threshold, not the weighted sum.
        coarse: The distances are those of coarse features alone.
        scene_limit: Median coarse distance above which an image as a whole is unlike the good ones; infinite if that
            was not measured.
    """

    place_FPP: NDArray[np.float32]
    spread_FPP: NDArray[np.float32]
    level: float
    middle: float
    fall: float
    maxima_FS: NDArray[np.float32]
    maxima_S: NDArray[np.float32]
    enhanced_S: NDArray[np.float32]
    good: bool
    enhanced: bool = False
    coarse: bool = False
    scene_limit: float = math.inf

    @classmethod
    def of(
        cls,
        distances: Sequence[NDArray[np.float32]],
        *,
        good: bool,
        coarse: bool = False,
        inside: Sequence[NDArray[np.bool_]] | None = None,
        held_out: Sequence[NDArray[np.float32]] | None = None,
    ) -> "DistanceScale":
        """Estimate the distribution from a sample, each image compared with the *other* images.

        Args:
            distances: Distance maps (F, h, w) of each image; grids may differ.
            good: The images are known to be good.
            coarse: The distances are those of coarse features alone.
            inside: Boolean map of the valid patches of each image; None if all are valid.
            held_out: Corrected distances (F, h, w) of each image, if measured on held-out folds.
        """
        places = [typical_places(maps) for maps in zip(*distances, strict=True)]
        place_FPP, spread_FPP = (np.stack(maps) for maps in zip(*places, strict=True))
        maps = [corrected_kinds(maps_Fhw, place_FPP, spread_FPP) for maps_Fhw in distances]
        fine = [corrected(maps_Fhw[0], *places[0], keep_median=True) for maps_Fhw in distances]
        level = float(np.median([np.median(map_hw) for map_hw in fine]))
        measured = maps if held_out is None else held_out
        maxima_FS = np.stack([maps_Fhw.max(axis=(1, 2)) for maps_Fhw in measured], axis=1)
        weight = coarse_weight(maxima_FS)
        sums = [weighted_sum(maps_Fhw, weight) for maps_Fhw in maps]
        flat = [map_hw.ravel() if inside is None else map_hw[inside[row]] for row, map_hw in enumerate(sums)]
        middle, upper = np.quantile(np.concatenate(flat), [0.5, 0.75])
        fall = float(max(upper - middle, ROUNDING * level, 1e-9) / np.log(2))
        sums = sums if held_out is None else [weighted_sum(maps_Fhw, weight) for maps_Fhw in measured]
        maxima_S = np.array([map_hw.max() for map_hw in sums], np.float32)
        enhanced_S = np.array([cluster_enhanced(map_hw).max() for map_hw in sums], np.float32)
        limit = math.inf
        if good and len(places) > 1:
            limit = OTHER_SCENE * max(float(np.median(maps_Fhw[-1])) for maps_Fhw in distances)
        return cls(
            place_FPP,
            spread_FPP,
            level,
            float(middle),
            fall,
            maxima_FS,
            maxima_S,
            enhanced_S,
            good,
            coarse=coarse,
            scene_limit=limit,
        )

    @property
    def enough(self) -> bool:
        """Whether the sample is large enough for the distribution of its maxima."""
        return len(self.maxima_S) >= (MIN_ALIGNED_IMAGES if self.good else MIN_MIXED_IMAGES)

    def line(self, patches: int, threshold: Threshold) -> float:
        """Return the threshold: the corrected distance above which an image of that many patches is defective.

        It is a quantile of a Gumbel distribution, fitted to the maxima of good images or to the lower maxima of a mixed
        folder. With too few images for that, it is the distance that one image in a hundred would exceed if distances
        had the exponential tail that the median and the upper quartile of all patches give.
        """
        if threshold.kind == "value":
            return distance_at(threshold.number, self.line(patches, AUTO))
        line = self._line_of(self.enhanced_S if self.enhanced else self.maxima_S, threshold)
        if line is None:
            line = self.middle + self.fall * float(np.log(patches / 2 / EXPONENTIAL_FALSE_RATE))
        return max(line, self.middle + self.fall)

    def soft_line(self, patches: int, threshold: Threshold) -> float:
        """Return the value of the soft map at `line`: 0.5 for `auto`."""
        if threshold.kind == "value":
            return threshold.number
        return float(soft_value(self.line(patches, threshold), self.line(patches, AUTO)))

    def _line_of(self, maxima_S: NDArray[np.float32], threshold: Threshold) -> float | None:
        """Return the threshold for such maxima; None for too few images."""
        if threshold.kind == "quantile":
            return float(np.quantile(maxima_S, threshold.number))
        if not self.enough:
            return None
        return good_line(maxima_S) if self.good else mixed_line(maxima_S)

    def parameters(self, threshold: Threshold) -> Mapping[str, float | str]:
        """Return the decay length of the distances, the rule that set the threshold, and its value if it is not 0.5."""
        of = "good images" if self.good else "images"
        least = MIN_ALIGNED_IMAGES if self.good else MIN_MIXED_IMAGES
        rule = f"exponential tail: fewer than {least} {of}"
        if threshold.kind == "quantile":
            rule = f"quantile {threshold.number:g} of the maxima of {of}"
        elif self.enough:
            rule = f"{'held-out' if self.good else 'lower'} maxima of {of}"
        rule += ", cluster-enhanced" if self.enhanced else ""
        # Of few images the value depends a little on the size of an image.
        value = soft_value(*(self.line(PLACES**2, one) for one in (threshold, AUTO)))
        own = {} if threshold.kind == "auto" else {"threshold": round(float(value), 4)}
        return {"distance_decay": self.fall, "threshold_rule": rule, **own}

    def scene_ratio(self, distances_Fhw: NDArray[np.float32]) -> float:
        """Return the median coarse distance of an image relative to `scene_limit`; 0 where there is no limit."""
        return float(np.median(distances_Fhw[-1])) / self.scene_limit

    def judge(self, distances_Fhw: NDArray[np.float32], threshold: Threshold) -> PatchMaps:
        """Map one image: `auto` is 0.5 in the soft map, and its masks end at half the height of their peaks.

        An image that is another scene than the good ones (`OTHER_SCENE`) is marked as a whole, with a score of 1.
        """
        far_Fhw = corrected_kinds(distances_Fhw, self.place_FPP, self.spread_FPP)
        weight = coarse_weight(self.maxima_FS)
        far_hw = weighted_sum(far_Fhw, weight)
        overall = image_score(far_hw)
        if not self.coarse:  # a worn or stained image is far from the others as a whole; coarse features see its light
            whole_hw = corrected(distances_Fhw[0], self.place_FPP[0], self.spread_FPP[0], keep_median=True)
            overall = image_score(weighted_sum(np.stack([whole_hw, *far_Fhw[1:]]), weight)) - self.level
        score = soft_value(overall, replace(self, enhanced=False).line(far_hw.size, AUTO))
        far_hw = cluster_enhanced(far_hw) if self.enhanced else far_hw
        unit, line = (self.line(far_hw.size, one) for one in (AUTO, threshold))
        saliency_hw, highest = soft_value(far_hw, unit), float(far_hw.max())
        cut = self.soft_line(far_hw.size, threshold)
        if threshold.kind == "value":
            soft_hw, soft_threshold, found = saliency_hw, cut, float(saliency_hw.max()) > cut
        else:
            kinds = (self._line_of(maxima_S, threshold) for maxima_S in self.maxima_FS)
            lines_F = [np.inf if one is None else max(one, 1e-9) for one in kinds]  # peaks are divided by them
            if self.enhanced:  # what is detected may lie below the threshold of fine distances, and is outlined by them
                far_Fhw, lines_F = far_Fhw[:1], [-np.inf]
            soft_hw, soft_threshold, found = outlined(far_hw, line, far_Fhw, lines_F), 0.5, highest > line
        furthest = highest / max(line, unit / 100)  # values below 0.018 are distances below 0
        metrics = {"furthest": furthest}
        if (other := self.scene_ratio(distances_Fhw)) > 1:
            soft_hw = saliency_hw = np.ones_like(saliency_hw)
            found, score, metrics = True, np.ones_like(score), {"furthest": max(furthest, other), "whole_image": 1.0}
        reason = f"no patch is above the threshold (maximum {furthest:.2f} of --threshold {threshold})"
        return PatchMaps(
            soft_hw[None],
            threshold=soft_threshold,
            score=float(score),
            empty_reason="" if found else reason,
            metrics=metrics,
            saliency_hw=saliency_hw,
            saliency_threshold=cut,
            distances_Fhw=distances_Fhw,
        )


def coarse_weight(maxima_FS: NDArray[np.float32]) -> float:
    """Return the weight of coarse distances in units of fine ones; 0 if there are none.

    Args:
        maxima_FS: Largest corrected distance of each image.
    """
    if len(maxima_FS) == 1:
        return 0.0
    fine, coarse = np.median(maxima_FS, axis=1)
    return float(COARSE_WEIGHT * fine / max(coarse, 1e-9))


def weighted_sum(maps_Fhw: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """Return the fine distances plus the weighted coarse ones if there are any, (h, w)."""
    return np.asarray(maps_Fhw[0] + np.float32(weight) * maps_Fhw[1:].sum(axis=0), np.float32)
