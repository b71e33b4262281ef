"""How sure a score is: percentile intervals from resampled images, for single scores and for differences.

All intervals come from one generator of resampled sets (`resampled_counts`). A unit is what is drawn together: an
image, or a group of images (a part, a slide, a patient). Without groups the images count as independent, so near-copies
(frames of one video) make the interval too narrow.

Shapes: N images, U units, S draws, K combinations of a label and two predictions.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Statistic = Literal["balanced accuracy", "macro F1"]
DRAWS = 1000
"""Resampled folders of an interval, where nothing else is said."""


class ScoreInterval(NamedTuple):
    """A score and its 95 % interval.

    Args:
        value: Of all images; NaN where it is not defined.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A mean difference and its 95 % interval.

    Args:
        mean: Of end - start.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it as reports do: `delta -0.12, 95 % CI -0.71 to +0.42`."""
        return f"delta {self.mean:+.2g}, 95 % CI {self.low:+.2g} to {self.high:+.2g}"


def resampled_counts(units: int, draws: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Yield how often each unit is in a set of as many units drawn with replacement, shape (U,), once a draw.

    One set at a time: all of them together would take draws * U numbers, 800 MB for 50,000 images.
    """
    random = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.bincount(random.integers(0, units, units), minlength=units)


def bootstrap(
    statistic: Callable[[NDArray[np.float64]], float], units: int, *, draws: int = DRAWS, seed: int = 0
) -> ScoreInterval:
    """Estimate a statistic of a folder and how much it depends on which images are in it.

    Args:
        statistic: Of the units' weights, (U,): how often each one is in the drawn folder. A draw that gives NaN is left
            out.
        units: Number of units; 0 gives NaN.
        draws: Resampled folders.
        seed: Of the drawing; the same seed gives the same interval.
    """
    if not units:
        return ScoreInterval(float("nan"), float("nan"), float("nan"))
    drawn = [statistic(counts_U.astype(np.float64)) for counts_U in resampled_counts(units, draws, seed)]
    return ScoreInterval(statistic(np.ones(units)), *_percentiles(drawn))


def paired_bootstrap(
    start_N: NDArray[np.floating],
    end_N: NDArray[np.floating],
    *,
    groups_N: NDArray[Any] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Estimate the mean of end - start and its interval.

    Pairs are drawn, not values: that some images are harder than others cancels out.

    Args:
        start_N: One value per image.
        end_N: The same images in the same order.
        groups_N: One group per image; whole groups are drawn.
        draws: Resampled sets of images.
        seed: Of the drawing; the same seed gives the same interval.

    Raises:
        ValueError: If there is no pair, or one side has more values.
    """
    if start_N.shape != end_N.shape or start_N.size == 0:
        raise ValueError(f"paired values need the same number, at least 1: {start_N.shape} and {end_N.shape}")
    change_N = end_N.astype(np.float64) - start_N.astype(np.float64)
    unit_N = _units(len(change_N), groups_N)
    sums_U, sizes_U = np.bincount(unit_N, change_N), np.bincount(unit_N)
    found = bootstrap(lambda w_U: float(w_U @ sums_U / (w_U @ sizes_U)), len(sums_U), draws=draws, seed=seed)
    return Difference(float(change_N.mean()), found.low, found.high)


def bootstrap_predictions(
    labels_N: NDArray[Any],
    start_N: NDArray[Any],
    end_N: NDArray[Any],
    statistic: Statistic,
    *,
    groups_N: NDArray[Any] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Estimate the difference of a score between two sets of predictions, and its interval.

    These scores are not means over images. Images with the same label and the same two predictions are equal to them,
    so each draw is reduced to counts of such combinations, and all draws are scored at once.

    Args:
        labels_N: One label per image.
        start_N: Predictions of the one.
        end_N: Predictions of the other, the same images in the same order.
        statistic: The score.
        groups_N: One group per image; whole groups are drawn.
        draws: Resampled sets of images.
        seed: Of the drawing.

    Returns:
        Score of end - score of start.
    """
    names, code = np.unique(np.concatenate([labels_N, start_N, end_N]), return_inverse=True)
    kinds_K3, kind_N = np.unique(code.reshape(3, -1).T, axis=0, return_inverse=True)
    unit_N = _units(len(kind_N), groups_N)
    drawn = (counts_U[unit_N] for counts_U in resampled_counts(int(unit_N.max()) + 1, draws, seed))
    counts_SK = np.stack([np.bincount(kind_N, weights_N, len(kinds_K3)) for weights_N in drawn])

    def change(counts: NDArray[np.number]) -> NDArray[np.float64]:
        start, end = (_score(counts, kinds_K3[:, 0], kinds_K3[:, side], len(names), statistic) for side in (1, 2))
        return end - start

    return Difference(float(change(np.bincount(kind_N)[None])[0]), *_percentiles(change(counts_SK)))


def _units(images: int, groups_N: NDArray[Any] | None) -> NDArray[np.intp]:
    """Return the number of each image's unit, from 0."""
    return np.arange(images) if groups_N is None else np.unique(groups_N, return_inverse=True)[1]


def _percentiles(values_S: ArrayLike) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of the values that are not NaN."""
    values = np.asarray(values_S, np.float64)
    defined = values[~np.isnan(values)]
    low, high = np.percentile(defined, [2.5, 97.5]) if defined.size else (np.nan, np.nan)
    return float(low), float(high)


def _score(
    counts_SK: NDArray[np.number],
    label_K: NDArray[np.intp],
    predicted_K: NDArray[np.intp],
    classes: int,
    statistic: Statistic,
) -> NDArray[np.float64]:
    """Return the score of each draw; a class that a draw lacks does not count in it."""
    right, labelled, predicted = (
        np.stack([counts_SK[:, kinds == number].sum(axis=1) for number in range(classes)])
        for kinds in (np.where(label_K == predicted_K, label_K, -1), label_K, predicted_K)
    )
    whole = labelled if statistic == "balanced accuracy" else (labelled + predicted) / 2
    share = np.divide(right, whole, out=np.full(right.shape, np.nan), where=whole > 0)
    return np.asarray(np.nanmean(share, axis=0))
