"""k-means on rows of length 1: groups of directions, for features whose length means nothing.

The starts are scikit-learn's k-means++. The passes are ours, because those of the libraries hold all rows in memory, or
give other sums with other threads.

A centre is the mean of its rows and therefore shorter than they are, the looser its group the shorter. It is left so:
scaled to length 1 (spherical k-means) a loose group would take images from the border of a tight one.

Shapes: N images, D width, K clusters, R rows of one block.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import kmeans_plusplus

from dinocli.quality.normalized_features import NormalizedFeatures

STARTS = 5
BREATH = 5
"""Centres that are added and taken away at once; 0 for plain k-means."""
SAMPLE_ROWS, SAMPLE_ROWS_EACH = 20_000, 256
"""The starts look at a sample of this many rows, or this many a cluster; the passes that follow see every row."""

PASSES, _FINAL_PASSES = 100, 25
_BESIDE, _BETTER = 0.01, 1e-6
_STILL = 1e-6  # squared move of a centre


class Fit(NamedTuple):
    """What k-means found.

    Args:
        centres_KD: Means of unit rows, of length 1 or less.
        closeness: Mean closeness of a row to its centre: what k-means makes large.
    """

    centres_KD: NDArray[np.float32]
    closeness: float


class _Block(NamedTuple):
    """One pass over one block: sums and sizes of the groups, sum of closeness, rows that are far from all centres."""

    sum_KD: NDArray[np.float64]
    count_K: NDArray[np.int64]
    closeness: float
    far_closeness_F: NDArray[np.float32]
    far_FD: NDArray[np.float32]


class _Held(NormalizedFeatures):
    """Rows of length 1 in memory, which no pass scales again."""

    def take(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        return np.asarray(self.features_ND[rows], np.float32)


def unit_kmeans(
    rows: NormalizedFeatures, k: int, *, seed: int = 0, starts: int = STARTS, passes: int = PASSES, breath: int = BREATH
) -> Fit:
    """Find k centres.

    Args:
        rows: At least k.
        k: Clusters.
        seed: Of the starts.
        starts: Of them the one with the highest closeness wins.
        passes: Most passes of one start; it ends when no centre moves any more.
        breath: With many groups every start puts one centre on two groups and two on one. Centres are added where the
            error is largest and taken away where they are missed least, several at first, until nothing gets better.

    Returns:
        The centres, in no order.

    Source: Lloyd 1982; Arthur and Vassilvitskii 2007, k-means++; Fritzke 2020, arXiv:2006.15666, breathing k-means, but
    for taking away one centre after the other instead of freezing neighbours.
    A cluster that runs empty goes on at the row that is farthest from all centres.
    """
    sample_RD = rows.take(rows.sample(max(SAMPLE_ROWS, SAMPLE_ROWS_EACH * k), seed))
    sampled = _Held(NormalizedFeatures(sample_RD).take(slice(None)), threads=rows.threads)
    seeds = np.random.default_rng(seed).integers(2**31, size=starts).tolist()
    fits = [_improve(sampled, _start(sampled, k, start), passes) for start in seeds]
    best = _breathe(sampled, max(fits, key=lambda fit: fit.closeness), min(breath, k - 1), passes, seed)
    return best if len(sampled) == len(rows) else _improve(rows, best.centres_KD, _FINAL_PASSES)


def nearest(rows_RD: NDArray[np.float32], centres_KD: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the nearest centre of each row; of equals the first."""
    return np.asarray(closeness(rows_RD, centres_KD).argmax(axis=1))


def closeness(rows_RD: NDArray[np.float32], centres_KD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how near each row is to each centre, (R, K): 1/2 less half the squared distance, for rows of length 1."""
    return np.asarray(rows_RD @ centres_KD.T - np.einsum("kd,kd->k", centres_KD, centres_KD) / 2, np.float32)


def _start(rows: NormalizedFeatures, k: int, seed: int) -> NDArray[np.float32]:
    centres_KD, _ = kmeans_plusplus(rows.take(slice(None)), k, random_state=seed)
    return np.asarray(centres_KD, np.float32)


def _improve(rows: NormalizedFeatures, centres_KD: NDArray[np.float32], most: int) -> Fit:
    """Assign and average until no centre moves."""
    near = -np.inf
    for _ in range(most):
        found = _together(list(rows.map(partial(_assign, centres_KD=centres_KD))), len(centres_KD))
        near, before_KD = found.closeness / len(rows), centres_KD
        centres_KD = _centres(found)
        if np.square(centres_KD - before_KD).sum(axis=1).max() < _STILL:
            break
    return Fit(centres_KD, near)


def _breathe(rows: NormalizedFeatures, fit: Fit, breath: int, passes: int, seed: int) -> Fit:
    rng = np.random.default_rng(seed)
    while breath:
        error_K, _ = _error_and_use(rows, fit.centres_KD)
        worst_KD = fit.centres_KD[np.argsort(-error_K, kind="stable")[:breath]]
        beside_KD = worst_KD + _BESIDE * NormalizedFeatures(rng.normal(size=worst_KD.shape)).take(slice(None))
        more_KD = _improve(rows, np.concatenate([fit.centres_KD, beside_KD]), passes).centres_KD
        for _ in range(breath):
            _, use_K = _error_and_use(rows, more_KD)
            more_KD = np.delete(more_KD, use_K.argmin(), axis=0)
        again = _improve(rows, more_KD, passes)
        if again.closeness > fit.closeness + _BETTER:
            fit = again
        else:
            breath -= 1
    return fit


def _error_and_use(
    rows: NormalizedFeatures, centres_KD: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is lost at each centre, and what more would be lost without it."""

    def measure(part: slice, rows_RD: NDArray[np.float32]) -> NDArray[np.float64]:
        near_RK = closeness(rows_RD, centres_KD)
        label_R, row_R = near_RK.argmax(axis=1), np.arange(len(rows_RD))
        best_R = near_RK[row_R, label_R]
        near_RK[row_R, label_R] = -np.inf
        lost = (0.5 - best_R, best_R - near_RK.max(axis=1))
        return np.stack([np.bincount(label_R, weights, len(centres_KD)) for weights in lost])

    error_K, use_K = np.sum(list(rows.map(measure)), axis=0)
    return error_K, use_K


def _assign(part: slice, rows_RD: NDArray[np.float32], centres_KD: NDArray[np.float32]) -> _Block:
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


def _together(blocks: list[_Block], k: int) -> _Block:
    far_closeness_F = np.concatenate([block.far_closeness_F for block in blocks])
    farthest_F = np.argsort(far_closeness_F, kind="stable")[:k]
    return _Block(
        np.sum([block.sum_KD for block in blocks], axis=0),
        np.sum([block.count_K for block in blocks], axis=0),
        sum(block.closeness for block in blocks),
        far_closeness_F[farthest_F],
        np.concatenate([block.far_FD for block in blocks])[farthest_F],
    )


def _centres(found: _Block) -> NDArray[np.float32]:
    """Return the means; an empty cluster takes a row far from all centres."""
    lost_K = np.flatnonzero(found.count_K == 0)
    centres_KD = (found.sum_KD / np.maximum(found.count_K, 1)[:, None]).astype(np.float32)
    centres_KD[lost_K] = found.far_FD[: len(lost_K)]
    return centres_KD
