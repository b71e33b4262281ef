import numpy as np
import pytest
from scipy import ndimage

from dinocli.segmentation.regions import find_regions, without_specks

LABELS = np.array(
    [
        [1, 1, 0, 0, 3],
        [1, 0, 0, 3, 0],
        [0, 0, 1, 1, 0],
    ],
    np.uint16,
)
SOFT = (np.arange(15).reshape(3, 5) / 15).astype(np.float32)


def test_connected_parts_are_regions_of_their_own() -> None:
    found = list(find_regions(LABELS, SOFT, connected=True))
    assert [(one.label, one.box, one.area) for one in found] == [
        (1, (0, 0, 2, 2), 3),
        (1, (2, 2, 2, 1), 2),
        (3, (4, 0, 1, 1), 1),
        (3, (3, 1, 1, 1), 1),
    ]
    assert found[0].score == pytest.approx((0 + 1 + 5) / 3 / 15)


def test_a_segment_of_the_folder_is_one_region() -> None:
    found = list(find_regions(LABELS, SOFT, connected=False))
    assert [(one.label, one.box, one.area) for one in found] == [(1, (0, 0, 4, 3), 5), (3, (3, 0, 2, 2), 2)]


@pytest.mark.parametrize("connected", [True, False])
def test_regions_put_together_are_the_label_map(connected: bool) -> None:
    random = np.random.default_rng(0)
    labels = (random.random((40, 30)) * 6).astype(np.uint16) * (random.random((40, 30)) < 0.3)
    labels = ndimage.grey_dilation(labels, (2, 2)).astype(np.uint16)
    drawn = np.zeros_like(labels)
    for region in find_regions(labels, np.ones(labels.shape, np.float32), connected=connected):
        left, top, width, height = region.box
        drawn[top : top + height, left : left + width][region.mask_hw] = region.label
    np.testing.assert_array_equal(drawn, labels)


def test_an_empty_label_map_has_no_region() -> None:
    assert not list(find_regions(np.zeros((3, 4), np.uint16), np.zeros((3, 4), np.float32), connected=True))


def test_outlines_lie_where_the_region_lies() -> None:
    last = list(find_regions(LABELS, SOFT, connected=True))[1]
    assert {tuple(corner) for corner in last.outlines()[0].tolist()} == {(2, 2), (4, 2), (4, 3), (2, 3)}
    assert last.counts((3, 5)) == [8, 1, 2, 1, 3]


def test_specks_go_and_the_rest_stays() -> None:
    cleaned = without_specks(LABELS, 2)
    assert (cleaned == np.where(LABELS == 3, 0, LABELS)).all()
    assert (without_specks(LABELS, 3) == np.where(np.arange(5) < 2, LABELS * (LABELS == 1), 0)).all()
    assert (without_specks(LABELS, 1) == LABELS).all()
    assert (LABELS == 3).sum() == 2  # the input is left alone
