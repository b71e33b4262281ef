"""Threshold of the anomaly method: the option `--threshold`, and thresholds from a Gumbel distribution of maxima.

Legend: S images of the sample.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from dinocli.errors import UsageError

MIXED_QUANTILES = 0.1, 0.35
"""Quantiles of the per-image maxima that fit the Gumbel distribution where up to half of the images have a defect:
they lie below the defects."""

MIXED_FALSE_RATE = 0.04
"""Target fraction of good images above the threshold of a mixed folder; lower for few images (`SHRINKAGE_IMAGES`).
Fewer are flagged, since defects raise the quantiles: 1.9 % on 27 folders with 40 to 120 images."""

GOOD_FALSE_RATE = 0.05
"""Target fraction for a reference of good images. These are compared with fewer images than new ones will be, so fewer
new images are flagged: 2.9 % on seven sets with 16 or 30 good images."""

SHRINKAGE_IMAGES = 20
"""Number of images at which `MIXED_FALSE_RATE` is halved, to allow for the error of the estimated quantiles. For 16
images drawn from the distribution itself, 6.4 % of further images exceed the threshold instead of 10.0 %."""


class Threshold(NamedTuple):
    """A parsed `--threshold`.

    Args:
        kind: ``auto``, ``value`` (on the scale of the soft maps) or ``quantile`` (of the sample's per-image maxima).
        number: The value or quantile; 0 for ``auto``.
    """

    kind: str
    number: float

    def __str__(self) -> str:
        """Return it as it is written after the option."""
        return {"auto": "auto", "value": f"{self.number:g}"}.get(self.kind, f"{self.kind}:{self.number:g}")


AUTO = Threshold("auto", 0.0)

STEEPNESS = 4
"""Slope of the soft map: distance 0, usual for a patch, is at 0.018, and twice the threshold at 0.982."""


def soft_value(far: NDArray[np.floating] | float, unit: float) -> NDArray[np.float32]:
    """Map corrected distances to (0, 1), the scale of `--threshold VALUE`, by a logistic function.

    Args:
        far: Corrected distances.
        unit: Distance of the threshold `auto`, which gets 0.5.
    """
    return np.asarray(expit((far - unit) * (STEEPNESS / unit)), np.float32)


def distance_at(value: float, unit: float) -> float:
    """Return the distance that has a value of the soft map, the inverse of `soft_value`."""
    return unit * (1 + float(logit(value)) / STEEPNESS)


def parse_threshold(text: str) -> Threshold:
    """Parse ``auto``, a value of the soft maps between 0 and 1, or ``quantile:Q``.

    Raises:
        UsageError: The text is none of these.
    """
    if text == "auto":
        return AUTO
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


def good_line(maxima_S: NDArray[np.float32]) -> float:
    """Return the threshold that a fraction `GOOD_FALSE_RATE` of the maxima of good images exceeds.

    The maximum of many values with an exponential tail has a Gumbel distribution, whatever their number.

    Args:
        maxima_S: Maxima of at least two good images, and of no others.

    Source: Gumbel parameters from L-moments, Hosking 1990, doi:10.1111/j.2517-6161.1990.tb01775.x, which have a smaller
    error for few values than a fit to two quantiles.
    """
    sorted_S, count = np.sort(maxima_S.astype(np.float64)), len(maxima_S)
    mean = float(sorted_S.mean())
    half_difference = 2 * float((np.arange(count) / (count - 1) * sorted_S).mean()) - mean
    scale = half_difference / np.log(2)
    return float(mean - scale * (np.euler_gamma + np.log(-np.log(1 - GOOD_FALSE_RATE))))


def mixed_line(maxima_S: NDArray[np.float32]) -> float:
    """Return the threshold that a fraction `MIXED_FALSE_RATE` of the good images of a mixed folder exceeds.

    The Gumbel distribution of their maxima goes through the `MIXED_QUANTILES` of the maxima of all images.

    Args:
        maxima_S: Maxima of the images of a folder that may hold defects.
    """
    wanted = 1 - MIXED_FALSE_RATE / (1 + SHRINKAGE_IMAGES / len(maxima_S))
    low_z, high_z, wanted_z = -np.log(-np.log(np.array([*MIXED_QUANTILES, wanted])))
    low, high = np.quantile(maxima_S, MIXED_QUANTILES)
    return float(low + (high - low) * (wanted_z - low_z) / (high_z - low_z))
