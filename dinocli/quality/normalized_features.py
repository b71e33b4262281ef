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
from dinocli.quality.cosine import safe_rows, scaled_rows

T = TypeVar("T")

BLOCK_ROWS = 8192

_SAFE_SQUARED = 1e-30, 1e30  # squared lengths that are exact in float32
_FLOAT32_RANGE = 1e-30, 1e30  # values that float32 holds exactly to seven digits


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
        part = np.asarray(self.features_ND[rows])
        if part.dtype == np.float64:
            part = safe_rows(part, *_FLOAT32_RANGE)
        units = unit_rows32(part.astype(np.float32, copy=False))
        return units if self.projection is None else unit_rows32(self.projection(units))

    def sample(self, max_rows: int, seed: int) -> NDArray[np.intp]:
        """Return at most `max_rows` row indices, drawn without replacement and sorted."""
        return sample_indices(len(self), max_rows, seed)

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


def sample_indices(count: int, limit: int, seed: int) -> NDArray[np.intp]:
    """Return at most `limit` numbers below `count`, drawn without replacement and sorted."""
    return (
        np.arange(count) if count <= limit else np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))
    )


def unit_rows32(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalise rows in float32, also where squares overflow or underflow; a row of zeros stays zero."""
    with np.errstate(over="ignore"):
        squared = np.einsum("nd,nd->n", rows, rows)
    unsafe = ~((squared > _SAFE_SQUARED[0]) & (squared < _SAFE_SQUARED[1]))
    if unsafe.any():  # other rows keep their bits
        rows = rows.copy()
        rows[unsafe] = scaled_rows(rows[unsafe])
        squared[unsafe] = np.einsum("nd,nd->n", rows[unsafe], rows[unsafe])
    lengths = np.sqrt(squared)[:, None]
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
