import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco
from scipy import ndimage

from dinocli.segmentation.outlines import polygons, run_lengths

Mask = NDArray[np.bool_]

# pycocotools 2.0.11 itself
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def decoded(counts: list[int], shape: tuple[int, int]) -> Mask:
    """Fill the runs one by one, column after column."""
    flat = [value for number, count in enumerate(counts) for value in [bool(number % 2)] * count]
    return np.array(flat, bool).reshape(shape, order="F")


def random_masks() -> list[Mask]:
    random = np.random.default_rng(0)
    shapes = [(1, 1), (1, 9), (9, 1), (12, 17), (30, 20)]
    return [random.random(shape) < share for shape in shapes for share in (0.1, 0.5, 0.9)] + [
        np.zeros((4, 5), bool),
        np.ones((4, 5), bool),
    ]


@pytest.mark.parametrize("mask", random_masks(), ids=lambda mask: "x".join(map(str, mask.shape)))
def test_run_lengths_come_back(mask: Mask) -> None:
    counts = run_lengths(mask)
    assert all(counts[1:])
    assert (decoded(counts, mask.shape) == mask).all()
    packed = coco.frPyObjects({"counts": counts, "size": list(mask.shape)}, *mask.shape)
    assert (coco.decode(packed).astype(bool) == mask).all()


@pytest.mark.parametrize("mask", random_masks(), ids=lambda mask: "x".join(map(str, mask.shape)))
@pytest.mark.parametrize("offset", [(0, 0), (2, 3), (5, 0)])
def test_run_lengths_of_a_part_are_those_of_the_whole(mask: Mask, offset: tuple[int, int]) -> None:
    whole = np.zeros((mask.shape[0] + 5, mask.shape[1] + 3), bool)
    whole[offset[0] : offset[0] + mask.shape[0], offset[1] : offset[1] + mask.shape[1]] = mask
    assert run_lengths(mask, offset=offset, shape=whole.shape) == run_lengths(whole)
    assert (decoded(run_lengths(whole), whole.shape) == whole).all()


@pytest.mark.parametrize("mask", random_masks(), ids=lambda mask: "x".join(map(str, mask.shape)))
def test_polygons_enclose_exactly_the_mask_and_its_holes(mask: Mask) -> None:
    parts = polygons(mask)
    label, number = ndimage.label(mask)
    assert len(parts) == number  # touching at a corner is not hanging together
    flat = [corners.reshape(-1).tolist() for corners in parts]
    drawn = np.zeros(mask.shape, bool)
    if flat:
        drawn = coco.decode(coco.merge(coco.frPyObjects(flat, *mask.shape))).astype(bool)
    filled = np.zeros(mask.shape, bool)
    for part in range(1, number + 1):
        filled |= ndimage.binary_fill_holes(label == part, np.ones((3, 3)))
    assert (drawn == (filled | mask)).all()


def test_a_rectangle_has_four_corners() -> None:
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    (corners,) = polygons(mask)
    assert {tuple(corner) for corner in corners.tolist()} == {(3, 2), (9, 2), (9, 5), (3, 5)}


def test_outlines_run_clockwise() -> None:
    mask = np.zeros((6, 6), bool)
    mask[1:4, 1:5] = True
    (corners,) = polygons(mask)
    x, y = corners.T
    assert (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() == 2 * mask.sum()


def test_a_hole_has_no_polygon() -> None:
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    assert len(polygons(mask)) == 1
