import numpy as np
import pytest
from scipy import ndimage

from dinocli.segmentation.patch_geometry import MAX_LONG_SIDE, PatchGeometry, canvas_size


@pytest.mark.parametrize("source", [(480, 640), (333, 1000), (90, 70), (1080, 1920), (224, 224)])
@pytest.mark.parametrize("multiple", [14, 16, 32])
def test_aspect_is_kept_to_half_a_patch(source: tuple[int, int], multiple: int) -> None:
    canvas = canvas_size(source, short_side=224, multiple=multiple)
    assert all(side % multiple == 0 for side in canvas)
    scale = 224 / min(source)
    assert all(abs(side * scale - got) <= multiple / 2 for side, got in zip(source, canvas, strict=True))


def test_thin_images_neither_vanish_nor_explode() -> None:
    assert canvas_size((1, 5000), short_side=224, multiple=16) == (16, MAX_LONG_SIDE)
    assert canvas_size((5000, 1), short_side=224, multiple=16) == (MAX_LONG_SIDE, 16)
    assert canvas_size((1, 1), short_side=224, multiple=16) == (224, 224)


def test_size_zero_keeps_the_scale() -> None:
    assert canvas_size((4000, 6000), short_side=0, multiple=32, longest=1 << 20) == (4000, 6016)


def test_enlarging_equals_scipy_where_cells_meet_the_pixels() -> None:
    maps = np.random.default_rng(0).random((2, 5, 7), dtype=np.float32)
    geometry = PatchGeometry(source=(30, 42), canvas=(30, 42), grid=(5, 7), patch=6, step=6)
    rows, columns = np.meshgrid((np.arange(30) + 0.5) / 6 - 0.5, (np.arange(42) + 0.5) / 6 - 0.5, indexing="ij")
    slow = [ndimage.map_coordinates(one, [rows, columns], order=1, mode="nearest") for one in maps]
    np.testing.assert_allclose(geometry.upsampled(maps, slice(0, 30)), slow, atol=1e-6)


def test_strips_put_together_are_the_whole() -> None:
    maps = np.random.default_rng(0).random((3, 5, 7), dtype=np.float32)
    geometry = PatchGeometry(source=(61, 80), canvas=(80, 112), grid=(5, 7), patch=16, step=16)
    strips = [geometry.upsampled(maps, slice(start, min(start + 8, 61))) for start in range(0, 61, 8)]
    np.testing.assert_array_equal(np.concatenate(strips, axis=1), geometry.upsampled(maps, slice(0, 61)))


@pytest.mark.parametrize("step", [16, 8, 4])
def test_a_bright_patch_comes_back_where_it_was(step: int) -> None:
    # 96-px canvas of a 192-px image; the patch around pixel (72, 40) of the image is the one that lights up
    cells = (96 - 16) // step + 1
    geometry = PatchGeometry(source=(192, 192), canvas=(96, 96), grid=(cells, cells), patch=16, step=step)
    row, column = (round(float(geometry.cells(axis, np.array([place]))[0])) for axis, place in ((0, 71.5), (1, 39.5)))
    maps = np.zeros((1, cells, cells), np.float32)
    maps[0, row, column] = 1
    found = ndimage.center_of_mass(geometry.upsampled(maps, slice(0, 192))[0])
    assert np.abs(np.array(found) - (71.5, 39.5)).max() <= step  # half a step of the canvas is a step of the image


def test_one_cell_covers_everything() -> None:
    geometry = PatchGeometry(source=(9, 1), canvas=(16, 16), grid=(1, 1), patch=16, step=16)
    assert (geometry.upsampled(np.full((1, 1, 1), 0.25, np.float32), slice(0, 9)) == 0.25).all()
    assert geometry.upsampled(np.zeros((1, 1, 1), np.float32), slice(0, 9)).shape == (1, 9, 1)


def test_reach_is_a_step_in_the_source() -> None:
    assert PatchGeometry((1000, 2000), (224, 448), (14, 28), 16, 16).cell_pixels == round(16 * 1000 / 224)
    assert PatchGeometry((4, 4), (224, 224), (14, 14), 16, 16).cell_pixels == 1
