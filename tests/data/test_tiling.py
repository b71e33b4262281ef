"""Tiles of images and of feature grids, and their blending."""

import numpy as np
import pytest

from dinocli.data.tiling import Blend, GridTile, Tiling, grid_tiles, parse_tiling
from dinocli.errors import UsageError

SHAPES = [
    *[((1, 1), 4, 1, 1), ((7, 9), 4, 1, 1), ((20, 33), 8, 3, 1), ((20, 5), 8, 4, 1), ((64, 50), 32, 0, 1)],
    *[((31, 90), 32, 16, 1), ((21, 26), 8, 4, 1), ((64, 52), 16, 4, 4), ((13, 37), 5, 2, 2), ((500, 752), 64, 8, 4)],
]


def tiles_of(grid: tuple[int, int], tile: int, overlap: int, align: int = 1) -> list[GridTile]:
    return list(grid_tiles(grid, (min(tile, grid[0]), min(tile, grid[1])), overlap, align=align))


@pytest.mark.parametrize(("grid", "tile", "overlap", "align"), SHAPES)
def test_weights_sum_to_one_and_tiles_stay_inside(grid: tuple[int, int], tile: int, overlap: int, align: int) -> None:
    total = np.zeros(grid)
    for part in tiles_of(grid, tile, overlap, align):
        rows, columns = part.weights_hw.shape
        assert (rows, columns) == (min(tile, grid[0]), min(tile, grid[1]))
        assert part.row + rows <= grid[0]
        assert part.column + columns <= grid[1]
        assert part.weights_hw.min() >= 0
        total[part.row : part.row + rows, part.column : part.column + columns] += part.weights_hw
    np.testing.assert_allclose(total, 1, rtol=1e-6)


@pytest.mark.parametrize(("grid", "tile", "overlap", "align"), SHAPES)
def test_neighbouring_tiles_overlap_as_requested(grid: tuple[int, int], tile: int, overlap: int, align: int) -> None:
    starts = sorted({part.column for part in tiles_of(grid, tile, overlap, align)})
    assert (np.diff(starts) <= max(align, tile - overlap)).all()
    assert all(start % align == 0 for start in starts)
    assert len(starts) == 1 or starts[-1] + tile == grid[1]


@pytest.mark.parametrize(("grid", "tile", "overlap", "align"), SHAPES)
def test_equal_tiles_blend_to_their_values(grid: tuple[int, int], tile: int, overlap: int, align: int) -> None:
    whole = np.random.default_rng(0).standard_normal((*grid, 3)).astype(np.float32)
    blend = Blend(grid)
    for part in tiles_of(grid, tile, overlap, align):
        rows, columns = part.weights_hw.shape
        blend.add(part, whole[part.row : part.row + rows, part.column : part.column + columns])
    np.testing.assert_allclose(blend.result(), whole, rtol=1e-5, atol=1e-6)


def test_step_between_tiles_is_blended_to_a_slope() -> None:
    # every tile says something else: without blending neighbours would differ by whole steps
    grid, tile, overlap = (4, 60), 16, 8
    blend = Blend(grid)
    for number, part in enumerate(tiles_of(grid, tile, overlap)):
        blend.add(part, np.full((*part.weights_hw.shape, 1), float(number % 2), np.float32))
    steps = np.abs(np.diff(blend.result()[0, :, 0]))
    assert 0.1 < steps.max() < 0.35


def test_edge_cells_of_a_tile_have_weight_zero() -> None:
    first, second = tiles_of((4, 24), 16, 8)
    assert (first.weights_hw[0, -2:] == 0).all()
    assert (second.weights_hw[0, :2] == 0).all()
    assert first.weights_hw[0, 0] == 1  # at the border of the image there is no neighbour to take over


def test_tile_option_is_parsed() -> None:
    assert parse_tiling("512:64") == Tiling(512, 64)
    assert parse_tiling("512") == Tiling(512, 64)
    assert parse_tiling("64:0") == Tiling(64, 0)
    assert parse_tiling("") is None


@pytest.mark.parametrize("text", ["big", "512:", "512x64", "-1", "0", "512:-1", "512:300", "1:2:3"])
def test_invalid_tile_option_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="--tile") as refused:
        parse_tiling(text)
    assert "\n" not in str(refused.value)
