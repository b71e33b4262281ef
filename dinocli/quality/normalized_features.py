"""L2-normalised features, computed in blocks from a file that may be larger than memory.

Every result is the same, bit by bit, whatever the number of threads: the blocks are fixed, one thread works on one
block, and what they found is put together in the order of the blocks.

Shapes: N images, D width of the file, P width of a projection, R rows of one block.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dinocli.cores import usable_cores
from dinocli.errors import DataError

T = TypeVar("T")

BLOCK = 8192
FIT_VALUES = 1 << 23  # 64 MiB in float64, 20,000 rows of 400 values: directions of variance need no more

FLOOR = 0.03
"""Whitening: share of the energy of all rows below which a direction is hardly raised. A third of it gives k-NN
up to half a point more, and takes up to five points from classes by the mean of a few images (docs/results.md)."""

_TINY = 1e-6  # a direction with less than this share of the largest variance is rounding, and would be blown up


@dataclass(frozen=True)
class Projection:
    """The leading directions of the rows.

    Args:
        mean_D: Taken off first.
        axes_DP: Directions, most energy first; scaled where they whiten.
    """

    mean_D: NDArray[np.float32]
    axes_DP: NDArray[np.float32]

    def __call__(self, rows_RD: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((rows_RD - self.mean_D) @ self.axes_DP, np.float32)


class NormalizedFeatures:
    """Rows of length 1 in float32; a row of zeros stays zero.

    Args:
        features_ND: Finite features, in memory or mapped from a file.
        projection: Applied to the unit rows, whose results are scaled to length 1 once more.
        threads: That work on blocks at the same time.
    """

    def __init__(
        self, features_ND: NDArray[np.floating], projection: Projection | None = None, threads: int = 1
    ) -> None:
        self.features_ND, self.projection, self.threads = features_ND, projection, threads

    def __len__(self) -> int:
        return len(self.features_ND)

    def take(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        """Return some rows."""
        units = unit_rows32(np.asarray(self.features_ND[rows], np.float32))
        return units if self.projection is None else unit_rows32(self.projection(units))

    def sample(self, most: int, seed: int) -> NDArray[np.intp]:
        """Choose rows without replacement, sorted; all of them where there are not more."""
        return _choose(len(self), most, seed)

    def map(self, function: Callable[[slice, NDArray[np.float32]], T]) -> Iterator[T]:
        """Apply a function to every block, given as where it lies and its rows.

        Results come in order, and only a few blocks are in memory at a time.
        """
        parts = [slice(first, first + BLOCK) for first in range(0, len(self), BLOCK)]
        if self.threads == 1 or len(parts) == 1:
            yield from (function(part, self.take(part)) for part in parts)
            return
        waiting: deque[Future[T]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            for part in parts:
                waiting.append(pool.submit(lambda part: function(part, self.take(part)), part))
                if len(waiting) > 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def single_threaded() -> Any:
    """Return a context in which numeric libraries compute with one thread, so that sums have one order."""
    return threadpool_limits(limits=1)


def cores() -> int:
    """Return the number of threads that blocks are worth.

    The processors this process may use, but no more than OMP_NUM_THREADS: so are shared machines told to be modest.
    """
    available = usable_cores()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(asked)) if asked.isdigit() and int(asked) else available


def fit_projection(rows: NormalizedFeatures, width: int, *, seed: int = 0) -> Projection:
    """Find the directions in which the rows vary most.

    Args:
        rows: Without a projection.
        width: Directions to keep; fewer where the rows vary in fewer.
        seed: Of the rows that are looked at, where there are too many for all.
    """
    sample_RD = _fitting_sample(rows, seed)
    mean_D = sample_RD.mean(axis=0)
    axes_DP, variance_P = _directions(sample_RD - mean_D)
    kept = _kept(variance_P, width)
    return Projection(mean_D.astype(np.float32), axes_DP[:, :kept].astype(np.float32))


def fit_whitening(
    rows: NormalizedFeatures, width: int = 0, *, among_M: NDArray[np.intp] | None = None, seed: int = 0
) -> Projection:
    """Tame the few directions that most rows share, so that what tells images apart counts more.

    In a folder of one kind of image nearly all of a feature says what kind that is. Each direction is divided by the
    root of its energy, as whitening does, plus a floor: directions that hold much less than the floor, most of them
    noise, stay as they are next to each other. The mean is one of the directions, and is tamed with them.

    Args:
        rows: Without a projection.
        width: Directions to keep, those of the most energy; 0 keeps all.
        among_M: The rows that count; None for all of them. Rows that are not finite never do.
        seed: Of the rows that are looked at, where there are too many for all.

    Raises:
        DataError: No row is finite.

    Source: Jegou and Chum 2012, ECCV, section 3.2 (whitened features for retrieval). Departs: the floor, and not
        centred; a mean that is taken off whole makes class means of few images unsteady.
    """
    sample_RD = _fitting_sample(rows, seed, among_M)
    finite_RD = sample_RD[np.isfinite(sample_RD).all(axis=1)]
    if not len(finite_RD):
        raise DataError("no row is finite, so there is nothing to whiten by")
    axes_DP, variance_P = _directions(finite_RD)
    kept = _kept(variance_P, width or len(variance_P))
    scale_P = 1 / np.sqrt(variance_P[:kept] + FLOOR)
    return Projection(np.zeros(len(axes_DP), np.float32), (axes_DP[:, :kept] * scale_P).astype(np.float32))


def _fitting_sample(
    rows: NormalizedFeatures, seed: int, among_M: NDArray[np.intp] | None = None
) -> NDArray[np.float64]:
    among_M = np.arange(len(rows)) if among_M is None else among_M
    most = max(2, FIT_VALUES // rows.features_ND.shape[1])
    return rows.take(among_M[_choose(len(among_M), most, seed)]).astype(np.float64)


def _choose(count: int, most: int, seed: int) -> NDArray[np.intp]:
    """Choose numbers below `count` without replacement, sorted; all of them where there are not more."""
    return (
        np.arange(count) if count <= most else np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
    )


def _kept(variance_P: NDArray[np.float64], width: int) -> int:
    """Count the directions to keep: no more than asked for, and none that is rounding alone."""
    return max(1, int((variance_P[:width] > _TINY * variance_P[0]).sum()))


def _directions(sample_RD: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the directions of most energy as columns, and their energies; a direction's largest value is positive.

    The energy is the mean square, of centred rows the variance. Of few rows and many values the rows themselves are
    decomposed, of the others their products.
    """
    if len(sample_RD) < sample_RD.shape[1]:
        _, length_P, axes_PD = np.linalg.svd(sample_RD, full_matrices=False)
        axes_DP, variance_P = axes_PD.T, np.square(length_P) / len(sample_RD)
    else:
        variance_P, axes_DP = np.linalg.eigh(sample_RD.T @ sample_RD / len(sample_RD))
        axes_DP, variance_P = axes_DP[:, ::-1], variance_P[::-1]
    largest_P = np.take_along_axis(axes_DP, np.abs(axes_DP).argmax(axis=0)[None], 0)
    return axes_DP * np.where(largest_P < 0, -1, 1), variance_P


def unit_rows32(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1, in float32; a row of zeros stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
