"""Bootstrap confidence intervals (percentile, 95 %) of scores and of paired differences.

All intervals come from one generator of resampled sets (`resampled_counts`). The resampling unit is an image or a group
of images (a part, a slide, a patient). Without groups the images count as independent, so near-duplicates (frames of
one video) make the interval too narrow.

Shapes: N images, U resampling units, S bootstrap samples, K combinations of a label and two predictions.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dinocli.quality.knn import group_numbers

Statistic = Literal["balanced accuracy", "macro F1"]
DRAWS, PAIRED_DRAWS = 1000, 2000
"""Default numbers of bootstrap samples: of scores, and of differences, whose interval is compared with 0."""
_NUMBERS_AT_ONCE = 1 << 16


class ScoreInterval(NamedTuple):
    """A score and its 95 % interval.

    Args:
        value: Score on all images; NaN where it is undefined.
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
        mean: Mean of end - start.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it in the format of reports: `delta -0.12, 95 % CI -0.71 to +0.42`."""
        return f"delta {self.mean:+.2g}, 95 % CI {self.low:+.2g} to {self.high:+.2g}"


def resampled_counts(units: int, draws: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Yield the counts of each unit in one bootstrap sample, (U,), `draws` times.

    A generator, because all samples together take draws * U numbers: 800 MB for 50,000 images. Small samples are drawn
    many at once; they are those that are drawn one by one.
    """
    random, at_once = np.random.default_rng(seed), max(1, _NUMBERS_AT_ONCE // units)
    for first in range(0, draws, at_once):
        drawn_SU = random.integers(0, units, (min(at_once, draws - first), units))
        drawn_SU += units * np.arange(len(drawn_SU))[:, None]
        yield from np.bincount(drawn_SU.ravel(), minlength=drawn_SU.size).reshape(drawn_SU.shape)


def bootstrap(
    statistic: Callable[[NDArray[np.float64]], float], units: int, *, draws: int = DRAWS, seed: int = 0
) -> ScoreInterval:
    """Return a statistic and its confidence interval.

    Args:
        statistic: Function of the unit weights (U,), the counts in a bootstrap sample. Samples that give NaN are left
            out.
        units: Number of units; 0 gives NaN.
        draws: Number of bootstrap samples.
        seed: Seed of the resampling.
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
    draws: int = PAIRED_DRAWS,
    seed: int = 0,
) -> Difference:
    """Return the mean of end - start and its interval; pairs are resampled, so the difficulty of images cancels out.

    Args:
        start_N: One value per image.
        end_N: One value per image, in the same order.
        groups_N: One group per image; whole groups are resampled.
        draws: Number of bootstrap samples.
        seed: Seed of the resampling.

    Raises:
        ValueError: The numbers of values differ or are 0.
    """
    if start_N.shape != end_N.shape or start_N.size == 0:
        raise ValueError(f"paired values need the same number, at least 1: {start_N.shape} and {end_N.shape}")
    change_N = end_N.astype(np.float64) - start_N.astype(np.float64)
    unit_N = group_numbers(len(change_N), groups_N)
    sums_U, sizes_U = np.bincount(unit_N, change_N), np.bincount(unit_N)
    interval = bootstrap(lambda w_U: float(w_U @ sums_U / (w_U @ sizes_U)), len(sums_U), draws=draws, seed=seed)
    return Difference(float(change_N.mean()), interval.low, interval.high)


def bootstrap_predictions(
    labels_N: NDArray[Any],
    start_N: NDArray[Any],
    end_N: NDArray[Any],
    statistic: Statistic,
    *,
    groups_N: NDArray[Any] | None = None,
) -> Difference:
    """Return the difference of a score between two sets of predictions, and its interval.

    These scores are not means over images. They depend only on the counts of each combination (label, prediction by
    start, prediction by end), so each bootstrap sample is reduced to these counts and all samples are scored at once.

    Args:
        labels_N: One label per image.
        start_N: Predictions by the start.
        end_N: Predictions by the end, in the same order.
        statistic: Name of the score.
        groups_N: One group per image; whole groups are resampled.

    Returns:
        Score of end - score of start.
    """
    names, code = np.unique(np.concatenate([labels_N, start_N, end_N]), return_inverse=True)
    combinations_K3, combination_N = np.unique(code.reshape(3, -1).T, axis=0, return_inverse=True)
    unit_N = group_numbers(len(combination_N), groups_N)
    drawn = (counts_U[unit_N] for counts_U in resampled_counts(int(unit_N.max()) + 1, PAIRED_DRAWS, seed=0))
    counts_SK = np.stack([np.bincount(combination_N, weights_N, len(combinations_K3)) for weights_N in drawn])

    def change(counts: NDArray[np.number]) -> NDArray[np.float64]:
        start, end = (
            _score(counts, combinations_K3[:, 0], combinations_K3[:, side], len(names), statistic) for side in (1, 2)
        )
        return end - start

    return Difference(float(change(np.bincount(combination_N)[None])[0]), *_percentiles(change(counts_SK)))


def finite_mean(values_N: NDArray[np.floating]) -> float:
    """Return the mean of the finite values; NaN if there are none."""
    finite = values_N[np.isfinite(values_N)]
    return float(finite.mean()) if len(finite) else float("nan")


def _percentiles(values_S: ArrayLike) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentiles, NaN ignored."""
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
    """Return the score of each bootstrap sample, (S,); a class absent from a sample does not count in it."""
    right, labelled, predicted = (
        np.stack([counts_SK[:, kinds == number].sum(axis=1) for number in range(classes)])
        for kinds in (np.where(label_K == predicted_K, label_K, -1), label_K, predicted_K)
    )
    whole = labelled if statistic == "balanced accuracy" else (labelled + predicted) / 2
    share = np.divide(right, whole, out=np.full(right.shape, np.nan), where=whole > 0)
    return np.asarray(np.nanmean(share, axis=0))
