"""Exact nearest-neighbour search by cosine, in one pass over a large matrix in blocks of rows.

Shapes: Q queries, N rows of the gallery, D width, R rows of one block, K results.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.cosine import unit_rows
from dinocli.quality.normalized_features import Projection, unit_rows32

_BLOCK_VALUES = 3 << 18  # 3 MiB of float32: fits into the cache, since product and row norms both read the block
_EXTRA_CANDIDATES = 64  # beyond the requested number, so that float32 rounding cannot exclude a true result


class NearestRows(NamedTuple):
    """Nearest rows of every query, most similar first.

    Args:
        rows_QK: Indices of the rows.
        cosine_QK: Cosines in float64.
    """

    rows_QK: NDArray[np.intp]
    cosine_QK: NDArray[np.float64]


def nearest_rows(
    queries_QD: NDArray[np.floating],
    gallery_ND: NDArray[np.floating],
    count: int,
    *,
    leave_out: NDArray[np.intp] | None = None,
    projection: Projection | None = None,
    threads: int = 1,
) -> NearestRows:
    """Return the rows with the highest cosine to each query.

    The gallery is read once for all queries and never copied as a whole, so it may be memory-mapped and larger than
    memory. Non-finite rows are never returned, and a row of zeros has cosine 0.

    Args:
        queries_QD: Finite features.
        gallery_ND: Features of any float dtype.
        count: Results per query; fewer where the gallery is smaller.
        leave_out: For each query a row to exclude (itself), or -1.
        projection: Projection of unit rows, applied to queries and gallery before the comparison.
        threads: Number of threads that process blocks in parallel.

    Returns:
        K results per query; ties are in the order of the rows.
    """
    units_QD = _projected(queries_QD, projection)
    excluded_Q = np.full(len(units_QD), -1) if leave_out is None else leave_out
    count = min(count, len(gallery_ND) - int((excluded_Q >= 0).any()))
    if count < 1:
        return NearestRows(np.empty((len(units_QD), 0), np.intp), np.empty((len(units_QD), 0)))
    search = partial(
        _best_of_block,
        units_QD.astype(np.float32),
        gallery_ND,
        count + _EXTRA_CANDIDATES,
        excluded_Q,
        projection=projection,
    )
    step = max(1, _BLOCK_VALUES // gallery_ND.shape[1])
    starts = range(0, len(gallery_ND), step)
    with ThreadPoolExecutor(threads) as pool:
        rows_QK, cosine_QK = _merged(pool.map(partial(search, step=step), starts), count + _EXTRA_CANDIDATES)
    exact_QK = np.full(cosine_QK.shape, -np.inf)
    for exact_K, rows_K, unit_D, cosine_K in zip(exact_QK, rows_QK, units_QD, cosine_QK, strict=True):
        real_K = np.isfinite(cosine_K)
        exact_K[real_K] = _projected(gallery_ND[rows_K[real_K]], projection) @ unit_D
    order_QK = np.lexsort((rows_QK, -exact_QK), axis=1)[:, :count]
    return NearestRows(np.take_along_axis(rows_QK, order_QK, 1), np.take_along_axis(exact_QK, order_QK, 1))


def _projected(rows_RD: NDArray[np.floating], projection: Projection | None) -> NDArray[np.float64]:
    """L2-normalise rows, project them if there is a projection, and L2-normalise again."""
    units_RD = unit_rows(rows_RD)
    return units_RD if projection is None else unit_rows(projection(units_RD.astype(np.float32)))


def _best_of_block(
    units_QD: NDArray[np.float32],
    gallery_ND: NDArray[np.floating],
    count: int,
    excluded_Q: NDArray[np.intp],
    start: int,
    *,
    step: int,
    projection: Projection | None,
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the most similar rows of one block for each query, unordered."""
    rows_RD = np.asarray(gallery_ND[start : start + step], np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # non-finite rows
        if projection is not None:
            rows_RD = projection(unit_rows32(rows_RD))
        lengths_R = np.sqrt(np.einsum("rd,rd->r", rows_RD, rows_RD))
        cosine_QR = np.asarray(units_QD @ rows_RD.T / np.where(lengths_R > 0, lengths_R, 1.0), np.float32)
    cosine_QR[~np.isfinite(cosine_QR)] = -np.inf
    inside = np.flatnonzero((excluded_Q >= start) & (excluded_Q < start + len(rows_RD)))
    cosine_QR[inside, excluded_Q[inside] - start] = -np.inf
    return _top(np.broadcast_to(np.arange(start, start + len(rows_RD)), cosine_QR.shape), cosine_QR, count)


def _merged(
    blocks: Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]], count: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Merge the results of all blocks; a block whose maximum is below the current results is skipped."""
    rows_QK, cosine_QK = next(blocks)
    for rows_QB, cosine_QB in blocks:
        if cosine_QK.shape[1] == count and (cosine_QB.max(axis=1) <= cosine_QK.min(axis=1)).all():
            continue
        joined = np.concatenate([rows_QK, rows_QB], 1), np.concatenate([cosine_QK, cosine_QB], 1)
        rows_QK, cosine_QK = _top(*joined, count)
    return rows_QK, cosine_QK


def _top(
    rows_QR: NDArray[np.intp], cosine_QR: NDArray[np.float32], count: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    if cosine_QR.shape[1] <= count:
        return rows_QR, cosine_QR
    best_QK = np.argpartition(cosine_QR, -count, axis=1)[:, -count:]
    return np.take_along_axis(rows_QR, best_QK, 1), np.take_along_axis(cosine_QR, best_QK, 1)
