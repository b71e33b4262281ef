import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality import nearest_rows as search
from dinocli.quality.nearest_rows import nearest_rows
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.whitening import fit_whitening


@pytest.mark.parametrize("values", [8, 7 * 8, 1 << 20])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_equals_the_slow_sort(values: int, threads: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_BLOCK_VALUES", values)
    monkeypatch.setattr(search, "_EXTRA_CANDIDATES", 2)
    random = np.random.default_rng(0)
    gallery: NDArray[np.floating] = random.standard_normal((100, 8)).astype(dtype)
    queries = random.standard_normal((3, 8)) * 7
    gallery[40] = gallery[5]  # equal cosines are in the order of the rows
    queries[1] = gallery[5]
    found = nearest_rows(queries, gallery, 6, threads=threads)
    exact = gallery.astype(np.float64)
    cosine = queries @ exact.T / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(exact, axis=1)
    order = np.argsort(-np.round(cosine, 12), axis=1, kind="stable")[:, :6]
    assert found.rows_QK.tolist() == order.tolist()
    np.testing.assert_allclose(found.cosine_QK, np.take_along_axis(cosine, order, 1), atol=1e-12)
    assert found.rows_QK[1, :2].tolist() == [5, 40]


def test_queries_can_be_excluded_and_non_finite_rows_are_never_returned() -> None:
    gallery = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    gallery[3] = np.nan
    gallery[4] = np.inf
    gallery[5] = 0
    found = nearest_rows(gallery[[7, 7]], gallery, 50, leave_out=np.array([7, -1]))
    assert 7 not in found.rows_QK[0, :17]
    assert found.rows_QK[1, 0] == 7
    assert found.cosine_QK[0, found.rows_QK[0] == 5] == 0
    finite = np.isfinite(found.cosine_QK[0])
    assert not {3, 4, 7} & set(found.rows_QK[0][finite].tolist())
    assert finite.sum() == 17


def test_rounding_of_float32_decides_nothing() -> None:
    # two hundred rows whose cosines differ by 1e-9, less than the resolution of float32
    random = np.random.default_rng(0)
    query = np.zeros((1, 64))
    query[0, 0] = 1
    gallery = np.zeros((60, 64))
    gallery[:, 0] = 1
    gallery[:, 1] = 1e-3 + 1e-6 * random.permutation(60)
    found = nearest_rows(query, gallery, 5)
    assert found.rows_QK[0].tolist() == np.argsort(gallery[:, 1])[:5].tolist()


@pytest.mark.parametrize("values", [8, 1 << 20])
def test_a_projection_is_applied_before_the_cosine(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_BLOCK_VALUES", values)
    random = np.random.default_rng(0)
    gallery = random.standard_normal((40, 8)).astype(np.float32) + 3
    gallery[3] = np.nan
    finite = np.delete(np.arange(40), 3)
    whitening = fit_whitening(NormalizedFeatures(gallery), among_M=finite)
    found = nearest_rows(5 * gallery[[7]], gallery, 39, leave_out=np.array([7]), projection=whitening)
    white = NormalizedFeatures(gallery[finite], whitening).take(slice(None)).astype(np.float64)
    cosine = dict(zip(finite.tolist(), (white @ white[finite.tolist().index(7)]).tolist(), strict=True))
    expected = sorted((row for row in cosine if row != 7), key=lambda row: -cosine[row])
    assert found.rows_QK[0, :38].tolist() == expected
    np.testing.assert_allclose(found.cosine_QK[0, :38], [cosine[row] for row in expected], atol=1e-6)
    assert found.cosine_QK[0, 38] == -np.inf, "the row that is not finite"
    plain = nearest_rows(gallery[[7]], gallery, 39, leave_out=np.array([7]))
    assert plain.rows_QK[0].tolist() != found.rows_QK[0].tolist()


def test_rows_without_candidates_have_no_neighbours() -> None:
    found = nearest_rows(np.ones((2, 3)), np.ones((1, 3)), 5, leave_out=np.array([0, 0]))
    assert found.rows_QK.shape == (2, 0)
