"""From the distances of patches to scores and masks: what is usual, and where the threshold lies.

Three corrections make a distance a score:

- *place*: where images show the same part in the same position, some places are always harder to match (edges, glints),
  and vary more. The median over the folder at each place is subtracted, and the rest divided by its spread there where
  that is wider than usual; where images are not aligned both are the same everywhere, but for the border.
- *image*: the median of the image is subtracted: another lighting shifts all patches, a defect shifts a few.
- *threshold*: see `DistanceScale.line`. It can say "no defect", also where every image of a folder is bad.

Distances alone are needed here, no features: so a threshold can be tried again on stored distances (`--from`).

Legend: h w rows and columns of the grid, S images of the sample, P rows and columns of the places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label, map_coordinates, maximum, uniform_filter

from dinocli.errors import UsageError
from dinocli.quality.image_scores import image_score
from dinocli.segmentation.method import PatchMaps

CHANCE = 0.01
"""Fraction of images in which one patch would be seen by chance, if distances fell off as an exponential. They fall off
a little more slowly: with 0.05, one was seen in 13 of 100 textures without a defect."""

MIXED = 0.1, 0.35
"""Quantiles of the images' maxima that a Gumbel distribution is laid through where up to half of the images have a
defect: what is left of the good ones below the defects."""

FLAGGED = 0.03
"""Fraction of good images above the threshold, as that distribution has it; of few images less (`CAUTION`)."""

FLAGGED_GOOD = 0.05
"""The same where the images are known to be good. They are measured by fewer others than new ones will be, so that of
new ones less is flagged: 2.9 % on seven sets with 16 or 30 good images."""

CAUTION = 20
"""Images from which the quantiles are known well: of so many, half of `FLAGGED` is taken, for their own chance adds to
it. Of 16 images drawn from the distribution itself, 5.7 % of further ones are then above the line, not 8.6 %."""

PLACES = 48
"""Rows and columns of the maps of places. Parts have details: 32 places blurred those of ball screws; places as fine as
the grid are noisy, and hid the defects that half of the images had at the same place."""

ALIGNED = 8
"""Images from which on the median at a place, or a quantile of the maxima of good images, says something."""

ENOUGH = 12
"""Images from which on the lower maxima of a mixed folder say how high the maxima of good images get."""


class Threshold(NamedTuple):
    """What the user asked for.

    Args:
        kind: ``auto``, ``value`` (of the soft maps) or ``quantile`` (of the maxima of the sample's images).
        number: The value or quantile; 0 for ``auto``.
    """

    kind: str
    number: float


def parse_threshold(text: str) -> Threshold:
    """Read ``auto``, a value of the soft maps between 0 and 1, or ``quantile:Q``.

    Raises:
        UsageError: Anything else.
    """
    if text == "auto":
        return Threshold("auto", 0.0)
    kind, _, digits = text.rpartition(":")
    kind = kind or "value"
    try:
        number = float(digits)
    except ValueError:
        number = -1.0
    if kind not in ("value", "quantile") or not 0 < number <= 1 or (kind == "value" and number == 1):
        raise UsageError(
            f"--threshold {text!r} is not auto, a value of the soft maps between 0 and 1, "
            f"or quantile:Q; for example 0.4 or quantile:0.9"
        )
    return Threshold(kind, number)


@dataclass(frozen=True)
class DistanceScale:
    """What distances are usual in a folder.

    Args:
        place_PP: What is subtracted at each place, on a grid over the whole image.
        spread_PP: What the rest is divided by at each place, 1 or more.
        level: Distance that is usual in the median image, without what is subtracted at its place.
        middle: Median of the corrected distances.
        fall: Corrected distance over which patches become fewer by a factor e.
        maxima_S: Largest corrected distance of each image of the sample.
        good: The sample is of images that are known to be good.
    """

    place_PP: NDArray[np.float32]
    spread_PP: NDArray[np.float32]
    level: float
    middle: float
    fall: float
    maxima_S: NDArray[np.float32]
    good: bool

    @classmethod
    def of(
        cls,
        distances: Sequence[NDArray[np.float32]],
        *,
        good: bool,
        inside: Sequence[NDArray[np.bool_]] | None = None,
        maxima_S: NDArray[np.float32] | None = None,
    ) -> "DistanceScale":
        """Learn from the distances (h, w) of a sample, each image compared with *others*; grids may differ.

        Args:
            distances: Of each image.
            good: The images are known to be good.
            inside: Patches of each one that count; None where all do.
            maxima_S: Largest corrected distance of each image, where they were measured apart.
        """
        places = typical_places(distances)
        maps = [corrected(map_hw, *places) for map_hw in distances]
        level = float(np.median([np.median(without_place(map_hw, *places)) for map_hw in distances]))
        flat = [map_hw.ravel() if inside is None else map_hw[inside[row]] for row, map_hw in enumerate(maps)]
        middle, upper = np.quantile(np.concatenate(flat), [0.5, 0.75])
        fall = float(max(upper - middle, 1e-9) / np.log(2))
        if maxima_S is None:
            maxima_S = np.array([map_hw.max() for map_hw in maps], np.float32)
        return cls(*places, level, float(middle), fall, maxima_S, good)

    def line(self, patches: int, threshold: Threshold) -> float:
        """Return the corrected distance from which an image of that many patches is defective.

        How high the maxima of good images get, a Gumbel distribution says: that of the maxima of good images, or one
        through the lower maxima of a mixed folder. Of few images: where one in a hundred would be by chance, if
        distances fell off as an exponential from where the patches between the median and the upper quartile lie.
        """
        if threshold.kind == "quantile":
            line = float(np.quantile(self.maxima_S, threshold.number))
        elif len(self.maxima_S) >= (ALIGNED if self.good else ENOUGH):
            line = good_line(self.maxima_S) if self.good else mixed_line(self.maxima_S)
        else:
            line = self.middle + self.fall * float(np.log(patches / 2 / CHANCE))
        return max(line, self.middle + self.fall)

    def parameters(self, threshold: Threshold) -> Mapping[str, float | str]:
        """Say where the threshold comes from, and on which scale distances lie."""
        of = "good images" if self.good else "images"
        rule = f"chance, for there are fewer than {ALIGNED if self.good else ENOUGH} {of}"
        if threshold.kind == "quantile":
            rule = f"quantile {threshold.number:g} of the maxima of {of}"
        elif len(self.maxima_S) >= (ALIGNED if self.good else ENOUGH):
            rule = f"{'held-out' if self.good else 'lower'} maxima of {of}"
        value = {"threshold": threshold.number} if threshold.kind == "value" else {}
        return {"distance_decay": self.fall, "threshold_rule": rule, **value}

    def judge(self, distances_hw: NDArray[np.float32], threshold: Threshold) -> PatchMaps:
        """Map one image: in the soft map 0.5 is the threshold, and a mask ends at half the height of its peak."""
        far_hw = corrected(distances_hw, self.place_PP, self.spread_PP)
        # Worn and stained images are far from the others as a whole, so their own median counts here.
        overall = image_score(without_place(distances_hw, self.place_PP, self.spread_PP)) - self.level
        line = self.line(far_hw.size, threshold)
        saliency_hw, highest = _soft(far_hw, line), float(far_hw.max())
        if threshold.kind == "value":
            soft_hw, cut, found = saliency_hw, threshold.number, float(saliency_hw.max()) > threshold.number
        else:
            soft_hw, cut, found = outlined(far_hw, line), 0.5, highest > line
        return PatchMaps(
            soft_hw[None],
            threshold=cut,
            score=float(_soft(np.array(overall), line)),
            empty_reason="" if found else f"no patch is above the threshold ({highest / line:.2f} of that of auto)",
            metrics={"furthest": highest / line},
            saliency_hw=saliency_hw,
            distances_hw=distances_hw,
        )


def good_line(maxima_S: NDArray[np.float32]) -> float:
    """Return what a fraction `FLAGGED_GOOD` of the maxima of good images exceeds.

    The largest of many values that fall off as an exponential has a Gumbel distribution, whatever their number.

    Args:
        maxima_S: Of good images alone, at least two.

    Source: its two parameters from L-moments, Hosking 1990, doi:10.1111/j.2517-6161.1990.tb01775.x, which draw more out
    of few values than two quantiles do.
    """
    sorted_S, count = np.sort(maxima_S.astype(np.float64)), len(maxima_S)
    mean = float(sorted_S.mean())
    half_difference = 2 * float((np.arange(count) / (count - 1) * sorted_S).mean()) - mean
    scale = half_difference / np.log(2)
    return float(mean - scale * (np.euler_gamma + np.log(-np.log(1 - FLAGGED_GOOD))))


def mixed_line(maxima_S: NDArray[np.float32]) -> float:
    """Return what a fraction `FLAGGED` of the maxima of the good images of a folder exceeds, by `MIXED` of all.

    Args:
        maxima_S: Of a folder that may hold defects.
    """
    wanted = 1 - FLAGGED / (1 + CAUTION / len(maxima_S))
    places = -np.log(-np.log(np.array([*MIXED, wanted])))
    low, high = np.quantile(maxima_S, MIXED)
    return float(low + (high - low) * (places[2] - places[0]) / (places[1] - places[0]))


def _soft(far: NDArray[np.floating], line: float) -> NDArray[np.float32]:
    """Bring distances to 0 to 1: 0.5 at the threshold."""
    return np.asarray(1 / (1 + np.exp((line - far) * (4 / line))), np.float32)


class Places(NamedTuple):
    """What is usual at each place of a folder's images, on a grid over the whole image.

    Args:
        place_PP: How much further than elsewhere patches are in the median image.
        spread_PP: How much more distances vary there than at the median place, 1 or more.
    """

    place_PP: NDArray[np.float32]
    spread_PP: NDArray[np.float32]


def typical_places(maps: Sequence[NDArray[np.float32]]) -> Places:
    """Learn what is usual at each place; of few images nothing is.

    Args:
        maps: Distances (h, w) each; grids may differ.
    """
    if len(maps) < ALIGNED:
        return Places(np.zeros((PLACES, PLACES), np.float32), np.ones((PLACES, PLACES), np.float32))
    stacked_SPP = np.stack([resampled(map_hw - np.median(map_hw), (PLACES, PLACES)) for map_hw in maps])
    middle_PP = np.median(stacked_SPP, axis=0)
    # The median absolute deviation: defects that recur at one place, in up to half of the images, are not usual there.
    deviation_PP = np.median(abs(stacked_SPP - middle_PP), axis=0)
    spread_PP = gaussian_filter(deviation_PP, 1, mode="nearest")
    varies_PP = deviation_PP > 0  # outside a region of interest nothing does
    usual = max(float(np.median(spread_PP[varies_PP])) if varies_PP.any() else 0.0, 1e-9)
    place_PP = gaussian_filter(middle_PP, 1, mode="nearest")
    return Places(place_PP.astype(np.float32), np.maximum(spread_PP / usual, 1).astype(np.float32))


def corrected(
    map_hw: NDArray[np.float32], place_PP: NDArray[np.float32], spread_PP: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the distances of one image without what is usual at their place and in their image."""
    without = map_hw - resampled(place_PP, map_hw.shape)
    return np.asarray((without - np.median(without)) / resampled(spread_PP, map_hw.shape), np.float32)


def without_place(
    map_hw: NDArray[np.float32], place_PP: NDArray[np.float32], spread_PP: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the distances of one image without what is usual at their place."""
    without = map_hw - resampled(place_PP, map_hw.shape)
    return np.asarray(without / resampled(spread_PP, map_hw.shape), np.float32)


def outlined(far_hw: NDArray[np.float32], line: float) -> NDArray[np.float32]:
    """Scale each peak above the line so that 0.5 is half its height; elsewhere nothing is above 0.5.

    A patch sees some of its surroundings, so that what is odd has a halo; an edge lies where a peak is half as high.

    Args:
        far_hw: Corrected distances, around 0.
        line: A part is kept if any of its patches is above it; parts end at half of it at the latest.
    """
    parts_hw, count = label(far_hw > line / 2, structure=np.ones((3, 3)))
    peaks = np.append(0.0, maximum(far_hw, parts_hw, np.arange(1, count + 1)))
    peak_hw = np.where(peaks > line, peaks, 0)[parts_hw]
    soft_hw = (far_hw / np.where(peak_hw > 0, peak_hw, line)).clip(0, 1)
    capped: NDArray[np.float32] = np.where(peak_hw > 0, soft_hw, np.minimum(soft_hw, 0.5)).astype(np.float32)
    return capped


def resampled(map_hw: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Bring a map over the whole image to another grid: averaged where it is coarser, bilinear between centres."""
    shrunk = [max(1, round(old / cells)) for cells, old in zip(size, map_hw.shape, strict=True)]
    places = [(np.arange(cells) + 0.5) * old / cells - 0.5 for cells, old in zip(size, map_hw.shape, strict=True)]
    resampled: NDArray[np.float32] = map_coordinates(
        uniform_filter(map_hw, shrunk, mode="nearest"), np.meshgrid(*places, indexing="ij"), order=1, mode="nearest"
    )
    return resampled
