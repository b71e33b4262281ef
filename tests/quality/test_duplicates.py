from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.errors import DataError
from dinocli.quality import duplicates
from dinocli.quality.duplicates import SamePair, count_distinct, near_duplicates


def slow(features: NDArray[np.floating], threshold: float) -> dict[tuple[int, int], float]:
    rows = features.astype(np.float64)
    found = {}
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            lengths = np.linalg.norm(rows[i]) * np.linalg.norm(rows[j])
            if lengths and rows[i] @ rows[j] / lengths >= threshold:
                found[i, j] = rows[i] @ rows[j] / lengths
    return found


@pytest.fixture
def crowd() -> NDArray[np.float32]:
    """Return sixty rows around ten directions with very different norms, one exact copy and two rows of zeros."""
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(10, 16)), 6, axis=0) + 0.25 * rng.normal(size=(60, 16))
    rows *= rng.uniform(0.01, 100, (60, 1))
    rows[41] = rows[3]
    rows[[7, 50]] = 0
    return rows[rng.permutation(60)].astype(np.float32)


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.97])
def test_it_finds_what_the_slow_loop_finds(crowd: NDArray[np.float32], threshold: float) -> None:
    wanted = slow(crowd, threshold)
    pairs, cosines = near_duplicates(crowd, threshold)
    assert len(wanted) > 1
    assert [tuple(pair) for pair in pairs.tolist()] == sorted(wanted)
    assert cosines == pytest.approx([wanted[pair] for pair in sorted(wanted)], abs=1e-6)
    assert pairs.dtype == np.int64
    assert cosines.dtype == np.float32


@pytest.mark.parametrize("rows", [1, 7, 59, 60, 61])
def test_pairs_do_not_depend_on_the_block_size(
    crowd: NDArray[np.float32], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = near_duplicates(crowd, 0.8)
    monkeypatch.setattr(duplicates, "_BLOCK_ROWS", rows)
    monkeypatch.setattr(duplicates, "_REFINED_PAIRS", 5)
    for one, other in zip(near_duplicates(crowd, 0.8), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pairs_and_cosines_by_hand() -> None:
    rows = np.array([[1, 0], [3, 4], [0, 2], [5, 0]], np.float32)
    pairs, cosines = near_duplicates(rows, 0.7)
    assert pairs.tolist() == [[0, 3], [1, 2]]
    assert cosines == pytest.approx([1.0, 0.8])


def test_copies_count_at_a_threshold_of_exactly_one() -> None:
    rows = np.random.default_rng(1).normal(size=(5, 384)).astype(np.float32)
    pairs, cosines = near_duplicates(np.concatenate([rows, rows]), 1.0)
    assert pairs.tolist() == [[i, i + 5] for i in range(5)]
    assert (cosines == 1).all()


def test_few_rows_have_no_pairs() -> None:
    for count in (0, 1):
        pairs, cosines = near_duplicates(np.ones((count, 3), np.float32), 0.9)
        assert (pairs.shape, cosines.shape) == ((0, 2), (0,))


@pytest.mark.parametrize("rows", [16, 2048])
def test_too_many_pairs_are_refused_with_the_number(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK_ROWS", rows)
    same = np.ones((100, 4), np.float32)
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 4950)
    assert len(near_duplicates(same, 0.9)[0]) == 4950
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 4949)
    with pytest.raises(DataError, match=r"more than 4,949 pairs .* cosine of 0\.9"):
        near_duplicates(same, 0.9)
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 10)
    with pytest.raises(DataError, match=r"more than 10 pairs .* raise the threshold"):
        near_duplicates(same, 0.9)


def test_a_mapped_file_is_read_in_blocks(tmp_path: Path, crowd: NDArray[np.float32]) -> None:
    np.save(tmp_path / "feats.npy", crowd)
    mapped = np.load(tmp_path / "feats.npy", mmap_mode="r")
    np.testing.assert_array_equal(near_duplicates(mapped, 0.9)[0], near_duplicates(crowd, 0.9)[0])


def test_copies_count_once_and_distinct_images_each() -> None:
    different = np.eye(6, dtype=np.float32)
    assert count_distinct(different, 0.99) == 6
    assert count_distinct(np.repeat(different, 50, axis=0), 0.99) == 6
    assert count_distinct(np.ones((500, 4), np.float32), 0.99) == 1
    assert count_distinct(np.empty((0, 4), np.float32), 0.99) == 0


def test_each_duplicate_is_compared_with_the_file_to_keep() -> None:
    pairs = [SamePair(0, 3, 1.0, True), SamePair(0, 5, 0.97), SamePair(5, 6, 0.96), SamePair(7, 8, 1.0, True)]
    mixed, exact = duplicates.duplicate_groups(pairs, 9, lambda row: (row != 3, row))
    assert (mixed.rows, mixed.identical, mixed.exact) == ([3, 0, 5, 6], [True, True, False, False], False)
    assert mixed.cosines == pytest.approx([1, 1, 0.97, np.nan], nan_ok=True)  # 5 was compared with the first copy, 0
    assert (exact.rows, exact.exact) == ([7, 8], True)
