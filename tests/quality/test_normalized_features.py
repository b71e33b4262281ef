import sys
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from dinocli.quality import normalized_features as rows
from dinocli.quality.cosine import unit_rows
from dinocli.quality.normalized_features import NormalizedFeatures, block_threads, single_threaded
from tests.quality.groups import cloud, mixture


def test_rows_have_length_one_and_zeros_stay() -> None:
    points, _ = mixture(3, 40)
    points[7] = 0
    lengths = np.linalg.norm(NormalizedFeatures(points.astype(np.float16)).take(slice(None)), axis=1)
    np.testing.assert_allclose(np.delete(lengths, 7), 1, atol=1e-6)
    assert lengths[7] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e-37])
def test_huge_and_tiny_rows_keep_their_direction(scale: float, dtype: type) -> None:
    points, _ = mixture(3, 40)
    usual: NDArray[np.floating] = points.astype(dtype)
    scaled = usual.copy()
    scaled[::2] *= scale
    scaled[3] = 0
    found = NormalizedFeatures(scaled).take(slice(None))
    expected = NormalizedFeatures(usual).take(slice(None))
    np.testing.assert_allclose(found[::2], expected[::2], atol=1e-6)
    np.testing.assert_array_equal(np.delete(found[1::2], 1, axis=0), np.delete(expected[1::2], 1, axis=0))
    assert not found[3].any()
    np.testing.assert_allclose(unit_rows(scaled)[::2], unit_rows(usual)[::2], atol=1e-6)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_values_beyond_float32_keep_their_direction(scale: float) -> None:
    points, _ = mixture(3, 40)
    points = points.astype(np.float64)
    expected = unit_rows(points)
    np.testing.assert_allclose(unit_rows(points * scale), expected, atol=1e-12)
    np.testing.assert_allclose(NormalizedFeatures(points * scale).take(slice(None)), expected, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_are_in_order_and_complete(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BLOCK_ROWS", 16)
    points = NormalizedFeatures(cloud(100), threads=threads)
    seen = list(points.map(lambda part, block: (part.start, block)))
    assert [start for start, _ in seen] == list(range(0, 100, 16))
    np.testing.assert_array_equal(np.concatenate([block for _, block in seen]), points.take(slice(None)))


def test_a_sample_is_sorted_without_repeats_and_follows_the_seed() -> None:
    points = NormalizedFeatures(cloud(200))
    chosen = points.sample(50, 0)
    assert len(set(chosen.tolist())) == 50
    assert (np.diff(chosen) > 0).all()
    assert not np.array_equal(chosen, points.sample(50, 1))
    np.testing.assert_array_equal(points.sample(200, 0), np.arange(200))


@pytest.mark.parametrize(("asked", "most"), [("1", 1), ("", 10_000), ("0", 10_000), ("many", 10_000)])
def test_threads_follow_the_environment(asked: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert 1 <= block_threads() <= most


def test_libraries_have_one_thread_and_are_found_again_after_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [library["num_threads"] for library in threadpool_info()]
    assert before
    for number in range(2):
        with single_threaded():
            assert {library["num_threads"] for library in threadpool_info()} == {1}
        assert [library["num_threads"] for library in threadpool_info()] == before
        monkeypatch.setitem(sys.modules, f"a_module_imported_since_{number}", ModuleType("new"))
    assert rows._thread_pools.cache_info().currsize == 1
    found = rows._thread_pools(len(sys.modules))
    assert rows._thread_pools(len(sys.modules)) is found
    monkeypatch.setitem(sys.modules, "a_module_imported_since", ModuleType("new"))
    assert rows._thread_pools(len(sys.modules)) is not found
