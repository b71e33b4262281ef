"""Approximate search in a large matrix: rows in lists by their nearest centre, of which a query reads a few.

Rows stay where they are, so an index takes a few megabytes for a million rows, and needs no copy of them. The rows of
the lists are compared exactly, so that only results in other lists are missed.

Shapes: N rows, D width, L lists, Q queries, K results.

Source: inverted file (IVF), Sivic and Zisserman 2003; Jégou et al. 2011, section IV.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from dinocli.quality.cosine import unit_rows
from dinocli.quality.nearest_rows import NearestRows, nearest_rows

RECALL, RECALL_RESULTS = 0.98, 10
"""Recall@k on rows of the matrix that the number of probed lists is chosen for, and k; on other queries it varies."""

_SAMPLE_ROWS_EACH = 64  # rows of the sample, per list
_TRIAL_QUERIES = 64
_BLOCK_ROWS = 8192


class InvertedLists(NamedTuple):
    """An index.

    Args:
        centres_LD: Centres of the lists, unit rows.
        order_N: Rows in the order of their lists.
        starts_L1: Start of each list in `order_N`, and its end.
        probes: Number of lists that a query reads.
        recall: Recall@10 of that number on rows of the matrix.
    """

    centres_LD: NDArray[np.float32]
    order_N: NDArray[np.int64]
    starts_L1: NDArray[np.int64]
    probes: int
    recall: float

    def rows(self, unit_D: NDArray[np.floating], probes: int) -> NDArray[np.int64]:
        """Return the rows of the lists whose centres are nearest to a query, ascending."""
        cosine_L = self.centres_LD @ unit_D.astype(np.float32)
        lists = np.argpartition(-cosine_L, min(probes, len(cosine_L)) - 1)[:probes].tolist()
        return np.sort(np.concatenate([self.order_N[self.starts_L1[one] : self.starts_L1[one + 1]] for one in lists]))


def build_lists(features_ND: NDArray[np.floating]) -> InvertedLists:
    """Cluster the rows into about sqrt(N) lists, and choose how many a query has to read.

    Args:
        features_ND: Features of any float dtype; may be memory-mapped.
    """
    count, random = len(features_ND), np.random.default_rng(0)
    lists = max(1, round(math.sqrt(count)))
    sample = np.sort(random.choice(count, min(count, _SAMPLE_ROWS_EACH * lists), replace=False))
    sample_SD = _finite_units(features_ND[sample])
    kmeans = MiniBatchKMeans(min(lists, len(sample_SD)), batch_size=4096, n_init=1, random_state=0).fit(sample_SD)
    centres_LD = unit_rows(kmeans.cluster_centers_).astype(np.float32)
    blocks = (features_ND[first : first + _BLOCK_ROWS] for first in range(0, count, _BLOCK_ROWS))
    list_N = np.concatenate([(_finite_units(block) @ centres_LD.T).argmax(axis=1) for block in blocks])
    starts_L1 = np.concatenate([[0], np.cumsum(np.bincount(list_N, minlength=len(centres_LD)))])
    index = InvertedLists(centres_LD, np.argsort(list_N, kind="stable"), starts_L1, len(centres_LD), 1.0)
    queries = np.sort(random.choice(count, min(count, _TRIAL_QUERIES), replace=False))
    return _with_probes(index, features_ND, queries)


def nearest_in_lists(
    queries_QD: NDArray[np.floating],
    gallery_ND: NDArray[np.floating],
    index: InvertedLists,
    count: int,
    *,
    leave_out: NDArray[np.intp] | None = None,
) -> NearestRows:
    """Return the rows of the nearest lists with the highest cosine, as `nearest_rows`; -1 where a list has too few."""
    found_QK = np.full((len(queries_QD), count), -1, np.intp)
    cosine_QK = np.full((len(queries_QD), count), -np.inf)
    for query, unit_D in enumerate(unit_rows(queries_QD)):
        rows = index.rows(unit_D, index.probes)
        own = np.flatnonzero(rows == leave_out[query]) if leave_out is not None else np.empty(0, np.intp)
        rows = np.delete(rows, own)
        nearest = nearest_rows(queries_QD[query : query + 1], gallery_ND[rows], count)
        found = len(nearest.rows_QK[0])
        found_QK[query, :found], cosine_QK[query, :found] = rows[nearest.rows_QK[0]], nearest.cosine_QK[0]
    return NearestRows(found_QK, cosine_QK)


def _with_probes(index: InvertedLists, features_ND: NDArray[np.floating], queries: NDArray[np.intp]) -> InvertedLists:
    """Choose the smallest power of two of probed lists that reaches `RECALL` on some rows as queries."""
    finite = queries[np.isfinite(features_ND[queries]).all(axis=1)]
    query_QD, best = np.asarray(features_ND[finite], np.float64), RECALL_RESULTS
    exact_QK = nearest_rows(query_QD, features_ND, best, leave_out=finite).rows_QK
    for probes in (1 << power for power in range(len(index.centres_LD).bit_length())):
        tried = index._replace(probes=probes)
        found_QK = nearest_in_lists(query_QD, features_ND, tried, best, leave_out=finite).rows_QK
        hits = [len(set(exact) & set(found)) for exact, found in zip(exact_QK.tolist(), found_QK.tolist(), strict=True)]
        recall = sum(hits) / max(1, exact_QK.size)
        if recall >= RECALL:
            return tried._replace(recall=recall)
    return index


def _finite_units(rows_RD: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return unit rows; rows that are not finite become zeros."""
    rows_RD = np.asarray(rows_RD, np.float32)
    return unit_rows(np.where(np.isfinite(rows_RD).all(axis=1, keepdims=True), rows_RD, 0)).astype(np.float32)
