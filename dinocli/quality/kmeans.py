"""k-means on L2-normalised rows, in blocks, with k-means++ starts and breathing k-means.

Initial centres come from scikit-learn's k-means++. The iterations are our own: those of the libraries need all rows in
memory, or depend on the number of threads.

A centre is the mean of its unit rows, shorter than 1, and is not normalised: with unit centres (spherical k-means) a
loose cluster would take images from the border of a tight one.

Shapes: N images, D width, K clusters, R rows of one block, F rows far from all centres.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.normalized_features import NormalizedFeatures

STARTS = 5
BREATH = 5
"""Centres that breathing k-means adds and removes at once; 0 for plain k-means."""
SAMPLE_ROWS, SAMPLE_ROWS_EACH = 20_000, 256
"""The starts use a sample of this many rows, or this many per cluster if more; the final passes use all rows."""

PASSES, _FINAL_PASSES = 100, 25
_OFFSET, _MIN_GAIN = 0.01, 1e-6  # distance of an added centre from the old one; closeness that counts as better
_TOLERANCE = 1e-6  # largest squared move of a centre at convergence


class KMeansFit(NamedTuple):
    """Result of k-means.

    Args:
        centres_KD: Means of unit rows, of length 1 or less.
        closeness: Mean closeness of the rows to their centre, the objective that k-means maximises.
    """

    centres_KD: NDArray[np.float32]
    closeness: float


class _Block(NamedTuple):
    """Sums of one block: rows and counts per cluster, closeness, and the rows farthest from all centres."""

    sum_KD: NDArray[np.float64]
    count_K: NDArray[np.int64]
    closeness: float
    far_closeness_F: NDArray[np.float32]
    far_FD: NDArray[np.float32]


class _InMemory(NormalizedFeatures):
    """Rows in memory that are normalised already, so that no pass normalises them again."""

    def take(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        return np.asarray(self.features_ND[rows], np.float32)


def unit_kmeans(
    rows: NormalizedFeatures, k: int, *, seed: int = 0, starts: int = STARTS, passes: int = PASSES, breath: int = BREATH
) -> KMeansFit:
    """Cluster rows into k clusters. An empty cluster moves to the row farthest from all centres.

    Args:
        rows: At least k rows.
        k: Number of clusters.
        seed: Seed of the starts.
        starts: Number of starts; the one with the highest closeness is used.
        passes: Maximum number of iterations of one start; it ends when the centres have converged.
        breath: With many clusters every start places one centre on two clusters and two centres on one. Breathing adds
            centres where the error is largest and removes those with the least utility, `breath` at first, until the
            closeness stops improving.

    Returns:
        The centres, unordered, and the closeness.

    Source: Lloyd 1982; Arthur and Vassilvitskii 2007 (k-means++); Fritzke 2020, arXiv:2006.15666 (breathing k-means).
    Departs: centres are removed one after the other, instead of freezing their neighbours.
    """
    sample_RD = rows.take(rows.sample(max(SAMPLE_ROWS, SAMPLE_ROWS_EACH * k), seed))
    sampled = _InMemory(NormalizedFeatures(sample_RD).take(slice(None)), threads=rows.threads)
    seeds = np.random.default_rng(seed).integers(2**31, size=starts).tolist()
    fits = [_lloyd(sampled, _start(sampled, k, start), passes) for start in seeds]
    best = _breathe(sampled, max(fits, key=lambda fit: fit.closeness), min(breath, k - 1), passes, seed)
    return best if len(sampled) == len(rows) else _lloyd(rows, best.centres_KD, _FINAL_PASSES)


def nearest(rows_RD: NDArray[np.float32], centres_KD: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the index of the nearest centre of each row, (R,); the first of equals."""
    return np.asarray(closeness(rows_RD, centres_KD).argmax(axis=1))


def closeness(rows_RD: NDArray[np.float32], centres_KD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the closeness of rows and centres, (R, K): 1/2 - squared distance / 2, for rows of length 1."""
    return np.asarray(rows_RD @ centres_KD.T - np.einsum("kd,kd->k", centres_KD, centres_KD) / 2, np.float32)


def _start(rows: NormalizedFeatures, k: int, seed: int) -> NDArray[np.float32]:
    from sklearn.cluster import kmeans_plusplus  # loads for a second, and options are checked before

    centres_KD, _ = kmeans_plusplus(rows.take(slice(None)), k, random_state=seed)
    return np.asarray(centres_KD, np.float32)


def _lloyd(rows: NormalizedFeatures, centres_KD: NDArray[np.float32], passes: int) -> KMeansFit:
    """Run Lloyd's algorithm until convergence or the maximum number of passes."""
    closeness_mean = -np.inf
    for _ in range(passes):
        sums = _combined(list(rows.map(partial(_assign, centres_KD=centres_KD))), len(centres_KD))
        closeness_mean, before_KD = sums.closeness / len(rows), centres_KD
        centres_KD = _centres(sums)
        if np.square(centres_KD - before_KD).sum(axis=1).max() < _TOLERANCE:
            break
    return KMeansFit(centres_KD, closeness_mean)


def _breathe(rows: NormalizedFeatures, fit: KMeansFit, breath: int, passes: int, seed: int) -> KMeansFit:
    """Add and remove `breath` centres at once, one fewer after each attempt without improvement."""
    rng = np.random.default_rng(seed)
    while breath:
        error_K, _ = _error_and_utility(rows, fit.centres_KD)
        worst_KD = fit.centres_KD[np.argsort(-error_K, kind="stable")[:breath]]
        beside_KD = worst_KD + _OFFSET * NormalizedFeatures(rng.normal(size=worst_KD.shape)).take(slice(None))
        more_KD = _lloyd(rows, np.concatenate([fit.centres_KD, beside_KD]), passes).centres_KD
        for _ in range(breath):
            _, utility_K = _error_and_utility(rows, more_KD)
            more_KD = np.delete(more_KD, utility_K.argmin(), axis=0)
        again = _lloyd(rows, more_KD, passes)
        if again.closeness > fit.closeness + _MIN_GAIN:
            fit = again
        else:
            breath -= 1
    return fit


def _error_and_utility(
    rows: NormalizedFeatures, centres_KD: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the error of each cluster and its utility (increase of the error without its centre), (K,) each."""

    def measure(part: slice, rows_RD: NDArray[np.float32]) -> NDArray[np.float64]:
        near_RK = closeness(rows_RD, centres_KD)
        label_R, row_R = near_RK.argmax(axis=1), np.arange(len(rows_RD))
        best_R = near_RK[row_R, label_R]
        near_RK[row_R, label_R] = -np.inf
        lost = (0.5 - best_R, best_R - near_RK.max(axis=1))
        return np.stack([np.bincount(label_R, weights, len(centres_KD)) for weights in lost])

    error_K, utility_K = np.sum(list(rows.map(measure)), axis=0)
    return error_K, utility_K


def _assign(part: slice, rows_RD: NDArray[np.float32], centres_KD: NDArray[np.float32]) -> _Block:
    """Assign the rows of a block to their nearest centre."""
    near_RK = closeness(rows_RD, centres_KD)
    label_R = near_RK.argmax(axis=1)
    best_R = near_RK[np.arange(len(rows_RD)), label_R]
    member_RK = np.zeros_like(near_RK)
    member_RK[np.arange(len(rows_RD)), label_R] = 1
    far_F = np.argsort(best_R, kind="stable")[: len(centres_KD)]
    count_K = np.bincount(label_R, minlength=len(centres_KD))
    return _Block(
        (member_RK.T @ rows_RD).astype(np.float64),
        count_K,
        float(best_R.sum(dtype=np.float64)),
        best_R[far_F],
        rows_RD[far_F],
    )


def _combined(blocks: list[_Block], k: int) -> _Block:
    far_closeness_F = np.concatenate([block.far_closeness_F for block in blocks])
    farthest_F = np.argsort(far_closeness_F, kind="stable")[:k]
    return _Block(
        np.sum([block.sum_KD for block in blocks], axis=0),
        np.sum([block.count_K for block in blocks], axis=0),
        sum(block.closeness for block in blocks),
        far_closeness_F[farthest_F],
        np.concatenate([block.far_FD for block in blocks])[farthest_F],
    )


def _centres(sums: _Block) -> NDArray[np.float32]:
    """Return the means; an empty cluster gets a row far from all centres."""
    empty = np.flatnonzero(sums.count_K == 0)
    centres_KD = (sums.sum_KD / np.maximum(sums.count_K, 1)[:, None]).astype(np.float32)
    centres_KD[empty] = np.resize(sums.far_FD, (len(empty), centres_KD.shape[1]))  # repeated if there are fewer rows
    return centres_KD
