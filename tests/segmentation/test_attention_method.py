import numpy as np
import pytest

from dinocli.errors import UsageError
from dinocli.segmentation.attention_mask import AttentionMethod, best_connected, mass_below
from dinocli.segmentation.method import FeatureGrid


def test_the_mask_is_the_smallest_set_with_the_mass() -> None:
    map_hw = np.array([[0.4, 0.05, 0.25], [0.1, 0.15, 0.05]])
    assert ((mass_below(map_hw) > 1 - 0.6) == [[1, 0, 1], [0, 0, 0]]).all()
    assert ((mass_below(map_hw) > 1 - 0.7) == [[1, 0, 1], [0, 1, 0]]).all()


def test_equals_a_loop_over_the_strongest_patches() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        map_hw = rng.random((6, 7)) ** 4
        held, mask = 0.0, np.zeros(map_hw.size, bool)
        for patch in map_hw.ravel().argsort()[::-1]:
            if held >= 0.6 * map_hw.sum():
                break
            mask[patch], held = True, held + map_hw.flat[patch]
        assert np.array_equal(mass_below(map_hw).ravel() > 0.4, mask)


def _heads() -> np.ndarray:
    whole = np.full((8, 8), 0.01)
    whole[2:5, 2:5] = 1
    scattered = np.full((8, 8), 0.01)
    scattered[::3, ::3] = 1
    return np.stack([scattered, whole]).astype(np.float32)


def test_the_best_head_is_of_one_piece() -> None:
    assert best_connected(_heads(), 0.6) == 1
    grid = FeatureGrid(_heads().transpose(1, 2, 0))
    best = AttentionMethod().apply(grid)
    assert best.metrics["head"] == 1
    assert set(zip(*np.nonzero(best.labels()), strict=True)) <= {(y, x) for y in (2, 3, 4) for x in (2, 3, 4)}
    assert np.array_equal(AttentionMethod(head="1").apply(grid).soft_Khw, best.soft_Khw)
    assert AttentionMethod(head="0").apply(grid).labels()[::3, ::3].any()


def test_the_mean_is_over_heads_and_all_heads_are_kept() -> None:
    heads = _heads()
    maps = AttentionMethod(head="mean").apply(FeatureGrid(heads.transpose(1, 2, 0)))
    assert np.allclose(maps.soft_Khw[0], mass_below(heads.mean(0)))
    assert list(maps.extra_maps) == ["mean", "head0", "head1"]
    assert np.allclose(maps.extra_maps["head0"], heads[0])


def test_less_mass_is_a_smaller_mask() -> None:
    grid = FeatureGrid(np.random.default_rng(0).random((8, 8, 1)).astype(np.float32) ** 6)
    sizes = [int((AttentionMethod(mass=mass).apply(grid).labels() > 0).sum()) for mass in (0.3, 0.6, 0.9)]
    assert sizes == sorted(set(sizes))


def test_even_attention_is_nothing() -> None:
    maps = AttentionMethod().apply(FeatureGrid(np.ones((8, 8, 3), np.float32)))
    assert "spread over" in maps.empty_reason
    assert not maps.labels().any()


def test_a_head_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="--head 3: the model has 2 heads"):
        AttentionMethod(head="3").apply(FeatureGrid(np.ones((4, 4, 2), np.float32)))
    with pytest.raises(UsageError, match="'last' is not best, mean"):
        AttentionMethod(head="last")
