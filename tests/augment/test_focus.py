"""Crops centred by a focus map: how often they contain the target, and that nothing else changes."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.crop import AntialiasedCrop
from dinocli.augment.focus import Focus
from dinocli.augment.multicrop import MultiCrop
from tests.augment.test_multicrop import EVERYTHING, SIZES, build, canvases, everything, make, small

SIDE = 16


def planted(*cells: tuple[int, int]) -> NDArray[np.uint8]:
    """Return one map per cell, 0 everywhere else."""
    maps = np.zeros((len(cells), SIDE, SIDE), np.uint8)
    for number, cell in enumerate(cells):
        maps[number][cell] = 200
    return maps


CORNERS = ((0, 0), (2, 13), (8, 8), (15, 0), (15, 15), (4, 1))


def hits(share: float, scale: tuple[float, float]) -> float:
    """Return how often the centre of each image's target cell is in its crops."""
    rows, sizes = [*range(len(CORNERS))] * 200, SIZES.repeat(200, 1)
    torch.manual_seed(0)
    crop = AntialiasedCrop(32, scale, (0.75, 4 / 3), 0.5, 0.5, 0.5)
    params = crop._param_generator((len(rows), 1, 1, 1))
    focus = Focus(share, planted(*CORNERS))
    centre = focus.centres(rows, views=1, start=0, global_batch=len(rows), key=(0,))[0]
    box = crop.geometry({**params, "centre": centre}, sizes)["box"]
    assert (box[:, :2] >= 0).all()
    assert (box[:, :2] + box[:, 2:] <= sizes).all()
    place = (torch.tensor(CORNERS).repeat(200, 1) + 0.5) / SIDE * sizes
    return float(((box[:, :2] <= place) & (place < box[:, :2] + box[:, 2:])).all(dim=1).float().mean())


@pytest.mark.parametrize("scale", [(0.4, 1.0), (0.05, 0.4)])
def test_a_focused_crop_shows_the_planted_place_and_half_of_them_are_focused(scale: tuple[float, float]) -> None:
    free, half, full = (hits(share, scale) for share in (0, 0.5, 1))
    assert full == pytest.approx(1, abs=0.02), "the middle of a cell may be cut off where the draw is at its edge"
    assert free < 0.6
    assert half == pytest.approx((free + full) / 2, abs=0.05)


def test_places_follow_the_map() -> None:
    weights = np.zeros((1, SIDE, SIDE), np.uint8)
    weights[0, 3, 5], weights[0, 12, 1] = 60, 180
    centres = Focus(1.0, weights).centres([0] * 4000, views=1, start=0, global_batch=4000, key=(1,))[0]
    cells, counts = torch.unique((centres * SIDE).floor().long(), dim=0, return_counts=True)
    assert cells.tolist() == [[3, 5], [12, 1]]
    assert (counts / 4000).tolist() == pytest.approx([0.25, 0.75], abs=0.03)
    assert float((centres * SIDE % 1).mean()) == pytest.approx(0.5, abs=0.02), "anywhere in the cell"


def test_an_empty_map_and_no_share_leave_every_bit() -> None:
    plain, empty, none = everything(), everything(), everything()
    empty.focus = Focus(1.0, np.zeros((6, SIDE, SIDE), np.uint8))
    none.focus = Focus(0.0, planted(*CORNERS))
    for crop in (empty, none):
        assert all(torch.equal(*pair) for pair in zip(seen(crop), make(plain), strict=True))


def seen(crop: MultiCrop, first: int = 0, last: int = 6) -> list[Tensor]:
    mine = range(first, last)
    batches = crop(canvases()[first:last], SIZES[first:last], mine, step=3, start=first, global_batch=6)
    return [view for batch in batches for view in batch.chunk(len(batch) // (last - first))]


def test_colours_and_flips_stay_and_a_slice_sees_what_the_batch_sees() -> None:
    free, focused = everything(), everything()
    focused.focus = Focus(1.0, planted(*CORNERS))
    before, after = (crop._draw(SIZES, range(6), 3, 0, 6) for crop in (free, focused))
    for kind_before, kind_after in zip(before, after, strict=True):
        for own, changed in zip(kind_before, kind_after, strict=True):
            assert all(torch.equal(own[name], changed[name]) for name in own)
    whole, part = seen(focused), seen(focused, 2, 5)
    assert all(torch.equal(view[2:5], piece) for view, piece in zip(whole, part, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(whole, make(free), strict=True))
    assert all(torch.equal(*pair) for pair in zip(whole, seen(focused), strict=True)), "drawn again, the same"


def test_the_batched_way_of_a_device_sees_the_same_boxes() -> None:
    crop = build(EVERYTHING, EVERYTHING, small(EVERYTHING))
    crop.focus = Focus(0.5, planted(*CORNERS))
    drawn = crop._draw(SIZES, range(6), 3, 0, 6)
    batched = crop._views_on_device(canvases(), SIZES, drawn)
    plain = crop(canvases(), SIZES, range(6), step=3, start=0, global_batch=6)
    for one, other in zip(batched, plain, strict=True):
        torch.testing.assert_close(one, other, atol=2e-2, rtol=0)


def test_other_crops_are_drawn_inside_the_region() -> None:
    region = np.zeros((SIDE, SIDE), np.uint8)
    region[10:, :4] = 255
    focus = Focus(0.5, planted(*CORNERS), region)
    centres = focus.centres(range(6), views=400, start=0, global_batch=6, key=(0,)) * SIDE
    in_region = (centres[..., 0] >= 10) & (centres[..., 1] < 4)
    aimed = ((centres.floor() == torch.tensor(CORNERS)).all(dim=-1)) & ~in_region
    assert bool((in_region | aimed | (torch.tensor(CORNERS) == torch.tensor([15, 0])).all(dim=1)).all())
    assert float(aimed[:, 0].float().mean()) == pytest.approx(0.5, abs=0.1)
