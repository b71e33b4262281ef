"""Approximate search against exact search."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.inverted_lists import InvertedLists, build_lists, nearest_in_lists
from dinocli.quality.nearest_rows import nearest_rows


def features(count: int, seed: int) -> NDArray[np.float32]:
    """Return features on a curved surface of 6 dimensions, with noise, as those of images are."""
    fixed, random = np.random.default_rng(0), np.random.default_rng(seed)
    places = random.standard_normal((count, 6)) @ fixed.standard_normal((6, 64)) / 2
    rows = np.tanh(places) @ fixed.standard_normal((64, 32)) + 0.05 * random.standard_normal((count, 32))
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def gallery() -> NDArray[np.float32]:
    rows = features(3000, 1)
    rows[7] = np.nan
    return rows


@pytest.fixture(scope="module")
def index(gallery: NDArray[np.float32]) -> InvertedLists:
    return build_lists(gallery)


def test_a_few_lists_hold_nearly_all_neighbours_of_other_queries(
    gallery: NDArray[np.float32], index: InvertedLists
) -> None:
    queries = features(50, 2)
    exact, found = nearest_rows(queries, gallery, 10), nearest_in_lists(queries, gallery, index, 10)
    hits = [len(set(a) & set(b)) for a, b in zip(exact.rows_QK.tolist(), found.rows_QK.tolist(), strict=True)]
    assert sum(hits) / 500 >= 0.95
    read = [len(index.rows(query, index.probes)) for query in queries]
    assert np.mean(read) < 0.5 * len(gallery)
    same = exact.rows_QK == found.rows_QK
    np.testing.assert_allclose(exact.cosine_QK[same], found.cosine_QK[same], atol=1e-12)
    assert 7 not in found.rows_QK


def test_every_row_is_in_one_list_and_a_query_row_is_left_out(
    gallery: NDArray[np.float32], index: InvertedLists
) -> None:
    assert sorted(index.order_N.tolist()) == list(range(3000))
    own = np.array([5, 2000])
    assert nearest_in_lists(gallery[own], gallery, index, 1).rows_QK[:, 0].tolist() == [5, 2000]
    assert not {5, 2000} & set(nearest_in_lists(gallery[own], gallery, index, 3, leave_out=own).rows_QK.ravel())


def test_missing_results_are_marked() -> None:
    rows = np.eye(4, dtype=np.float32)
    index = InvertedLists(rows[:2], np.arange(4), np.array([0, 1, 4]), 1, 1.0)
    found = nearest_in_lists(rows[:1], rows, index, 3)
    assert found.rows_QK.tolist() == [[0, -1, -1]]
    assert np.isneginf(found.cosine_QK[0, 1:]).all()
