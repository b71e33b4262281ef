"""L2-normalised features, processed in blocks from a file that may be larger than memory.

Results are bit-identical for any number of threads: block boundaries are fixed, each block is processed by one thread,
and results are combined in the order of the blocks.

Shapes: N images, D width of the file, P width of a projection, R rows of one block.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from dinocli.cores import usable_cores
from dinocli.errors import DataError

T = TypeVar("T")

BLOCK_ROWS = 8192
FIT_VALUES = 1 << 23  # 64 MiB in float64, 20,000 rows of 400 values: enough to estimate principal directions

FLOOR = 0.06
"""Floor of a whitening, a share of the variance of the rows. With less, 20-shot gains where classes are small details,
and 5-shot loses where the directions of highest energy tell the classes apart."""

MEAN_WEIGHT = 0.5
"""Weight of the mean's energy in a whitening. With 1 the mean shrinks so far that the mean of a few rows of a class is
mostly noise (5-shot falls where one class is most of the folder); with 1/4 and less, k-NN accuracy falls."""

_MIN_VARIANCE_SHARE = 1e-6  # of the largest variance, or of the energy of rows: smaller variances are rounding


@dataclass(frozen=True)
class Projection:
    """Projection of rows to their leading principal directions.

    Args:
        mean_D: Mean that is subtracted first.
        axes_DP: Directions, highest energy first; scaled if they whiten.
    """

    mean_D: NDArray[np.float32]
    axes_DP: NDArray[np.float32]

    def __call__(self, rows_RD: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((rows_RD - self.mean_D) @ self.axes_DP, np.float32)


class NormalizedFeatures:
    """L2-normalised rows in float32; a row of zeros stays zero.

    Args:
        features_ND: Finite features, in memory or memory-mapped.
        projection: Applied to the unit rows; the result is L2-normalised again.
        threads: Number of threads that process blocks in parallel.
    """

    def __init__(
        self, features_ND: NDArray[np.floating], projection: Projection | None = None, threads: int = 1
    ) -> None:
        self.features_ND, self.projection, self.threads = features_ND, projection, threads

    def __len__(self) -> int:
        return len(self.features_ND)

    def take(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the normalised rows of a slice or index array."""
        units = unit_rows32(np.asarray(self.features_ND[rows], np.float32))
        return units if self.projection is None else unit_rows32(self.projection(units))

    def sample(self, max_rows: int, seed: int) -> NDArray[np.intp]:
        """Return at most `max_rows` row indices, drawn without replacement and sorted."""
        return _choose(len(self), max_rows, seed)

    def map(self, function: Callable[[slice, NDArray[np.float32]], T]) -> Iterator[T]:
        """Apply a function to every block: (slice of its rows, normalised rows) -> result.

        Results come in order; at most 2 x threads + 1 blocks are in memory.
        """
        parts = [slice(first, first + BLOCK_ROWS) for first in range(0, len(self), BLOCK_ROWS)]
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
    """Return a context in which BLAS and OpenMP use one thread, so that the order of sums is fixed."""
    return _thread_pools(len(sys.modules)).limit(limits=1)


@lru_cache(maxsize=1)
def _thread_pools(_: int) -> ThreadpoolController:
    """Find the libraries that compute in threads: 0.05 s, and again only when modules have been imported since."""
    return ThreadpoolController()


def block_threads() -> int:
    """Return the number of threads for blocks: the usable cores, at most OMP_NUM_THREADS if it is set."""
    available = usable_cores()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(limit)) if limit.isdigit() and int(limit) else available


def fit_projection(rows: NormalizedFeatures, width: int, *, seed: int = 0) -> Projection:
    """Fit a PCA projection to (a sample of) the rows.

    Args:
        rows: Features without a projection.
        width: Number of directions; fewer where the rows vary in fewer.
        seed: Seed of the sample.
    """
    sample_RD = _fitting_sample(rows, seed)
    mean_D = sample_RD.mean(axis=0)
    axes_DP, variance_P = _directions(sample_RD - mean_D)
    kept = _kept(variance_P, width)
    return Projection(mean_D.astype(np.float32), axes_DP[:, :kept].astype(np.float32))


def fit_whitening(
    rows: NormalizedFeatures, width: int = 0, *, among_M: NDArray[np.intp] | None = None, seed: int = 0
) -> Projection:
    """Fit a whitening with a floor: it scales down the few directions that hold most of the energy of a folder.

    In a folder of one kind of image most of the energy of a feature describes that kind, not the single image. Nothing
    is subtracted: the mean is one of the directions that are scaled down (`whitening_directions`).

    Args:
        rows: Features without a projection.
        width: Number of directions, highest energy first; 0 keeps all.
        among_M: Indices of the rows to fit to; None for all. Non-finite rows are ignored.
        seed: Seed of the sample.

    Raises:
        DataError: No row is finite.
    """
    axes_DP, scale_P = whitening_directions(_fitting_sample(rows, seed, among_M), width)
    return Projection(np.zeros(len(axes_DP), np.float32), (axes_DP * scale_P).astype(np.float32))


def whitening_directions(
    sample_RD: NDArray[np.float64], width: int = 0, *, floor: float = FLOOR, mean_weight: float = MEAN_WEIGHT
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the orthonormal directions of a whitening as columns, and the factor of each, highest energy first.

    The energy of a direction is its variance plus `mean_weight` times the square of its component of the mean. It is
    multiplied by 1 / sqrt(1 + energy / (`floor` x total variance)): directions far below the floor, mostly noise, stay
    as they are, and so do those outside the sample.

    Args:
        sample_RD: L2-normalised rows; non-finite ones are ignored.
        width: Number of directions to keep; 0 keeps all.
        floor: Share of the total variance.
        mean_weight: 1 takes the energy as it is; 0 ignores the mean.

    Raises:
        DataError: No row is finite.

    Source: Jegou and Chum 2012, ECCV, section 3.2 (whitened features for retrieval). Departs: the floor; and the mean
        is shrunk, not subtracted, since class means of few rows become unstable where it is gone.
    """
    finite_RD = sample_RD[np.isfinite(sample_RD).all(axis=1)]
    if not len(finite_RD):
        raise DataError("no row is finite, so there is nothing to whiten by")
    mean_D = finite_RD.mean(axis=0)
    centred_RD = finite_RD - mean_D
    # One more row, as long as the root of its weight, adds the energy of the mean to that of the centred rows.
    rows_SD = np.concatenate([centred_RD, np.sqrt(mean_weight * len(finite_RD)) * mean_D[None]])
    axes_DP, energy_P = _directions(rows_SD)
    kept = _kept(energy_P, width or len(energy_P))
    energy_P = energy_P[:kept] * len(rows_SD) / len(finite_RD)
    variance = max(float(np.square(centred_RD).sum(axis=1).mean()), _MIN_VARIANCE_SHARE)
    return axes_DP[:, :kept], 1 / np.sqrt(1 + energy_P / (floor * variance))


def _fitting_sample(
    rows: NormalizedFeatures, seed: int, among_M: NDArray[np.intp] | None = None
) -> NDArray[np.float64]:
    among_M = np.arange(len(rows)) if among_M is None else among_M
    max_rows = max(2, FIT_VALUES // rows.features_ND.shape[1])
    return rows.take(among_M[_choose(len(among_M), max_rows, seed)]).astype(np.float64)


def _choose(count: int, limit: int, seed: int) -> NDArray[np.intp]:
    """Return at most `limit` numbers below `count`, drawn without replacement and sorted."""
    return (
        np.arange(count) if count <= limit else np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))
    )


def _kept(variance_P: NDArray[np.float64], width: int) -> int:
    """Return the number of directions to keep: at most `width`, without those whose variance is rounding."""
    return max(1, int((variance_P[:width] > _MIN_VARIANCE_SHARE * variance_P[0]).sum()))


def _directions(sample_RD: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the principal directions as columns and their energies, both sorted by energy.

    The energy is the mean square, which is the variance of centred rows. Signs are fixed: the largest component of a
    direction is positive. SVD of the rows if they are fewer than the width, else eigenvectors of the second moments.
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
    """L2-normalise rows in float32; a row of zeros stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
