from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.segmentation import upsample as module
from dinocli.segmentation.method import PatchMaps
from dinocli.segmentation.patch_geometry import PatchGeometry
from dinocli.segmentation.upsample import render


def disc(height: int = 192, width: int = 256) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:height, :width]
    round_one: NDArray[np.bool_] = (rows - 90) ** 2 + (columns - 120) ** 2 < 45**2
    return round_one


def coarse(mask: NDArray[np.bool_], step: int = 16) -> PatchMaps:
    """What a method says that sees the share of each patch."""
    cells = mask.reshape(mask.shape[0] // step, step, mask.shape[1] // step, step).mean(axis=(1, 3))
    return PatchMaps(cells.astype(np.float32)[None], threshold=0.5, score=1.0)


def picture(mask: NDArray[np.bool_], noise: float = 8.0) -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    return (np.where(mask, 180, 90) + noise * random.standard_normal(mask.shape)).clip(0, 255).astype(np.uint8)[None]


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


FRAME = PatchGeometry((192, 256), (192, 256), (12, 16), 16, 16)


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("deep", [False, True])
def test_refined_masks_follow_the_edges(colours: int, deep: bool) -> None:
    mask = disc()
    bytes_CHW = np.repeat(picture(mask), colours, axis=0)
    seen: NDArray[Any] = bytes_CHW.astype(np.uint16) * 257 if deep else bytes_CHW
    plain, followed = (render(coarse(mask), FRAME, seen, refine=refine).labels_HW > 0 for refine in (False, True))
    assert iou(plain, mask) < 0.95
    assert iou(followed, mask) > 0.99


def test_where_there_is_no_edge_the_mask_stays() -> None:
    mask = disc()
    flat = np.full((1, *mask.shape), 128, np.uint8)
    plain, followed = (render(coarse(mask), FRAME, flat, refine=refine).labels_HW > 0 for refine in (False, True))
    assert iou(plain, followed) > 0.92


def test_refining_adds_no_segment_far_from_the_coarse_mask() -> None:
    mask = disc()
    far = np.zeros((12, 16), bool)
    far[:, 11:15] = True
    # just below the threshold in a bright part, along whose edges the filter lifts the brightest pixels above it
    soft = np.maximum(coarse(mask).soft_Khw, np.where(far, np.float32(0.5), np.float32(0.1)))
    noise = np.random.default_rng(0).normal(0, 25, mask.shape)
    bright = np.where(np.kron(far, np.ones((16, 16), bool)), 170, picture(mask))
    seen = (bright + noise).clip(0, 255).astype(np.uint8)
    found = render(PatchMaps(soft, 0.5, 1.0), FRAME, seen, refine=True).labels_HW > 0
    assert not found[:, 190:].any()
    assert found[90, 120]


@pytest.mark.parametrize("refine", [False, True])
def test_strips_make_no_difference(refine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = disc()
    seen = picture(mask)
    whole = render(coarse(mask), FRAME, seen, refine=refine)
    monkeypatch.setattr(module, "_STRIP_PIXELS", 256 * 24)
    strips = render(coarse(mask), FRAME, seen, refine=refine)
    np.testing.assert_allclose(strips.soft_HW, whole.soft_HW, atol=1e-4)
    assert (strips.labels_HW != whole.labels_HW).mean() < 1e-3


def test_a_constant_map_stays_constant() -> None:
    maps = PatchMaps(np.full((1, 12, 16), 0.625, np.float32), threshold=0.5, score=1.0)
    soft = render(maps, FRAME, picture(disc()), refine=True).soft_HW
    assert np.abs(soft - 0.625).max() < 1e-4


def test_an_empty_mask_keeps_its_soft_map() -> None:
    mask = disc()
    maps = coarse(mask)
    empty_reason = PatchMaps(maps.soft_Khw, maps.threshold, 0.1, empty_reason="smooth")
    done = render(empty_reason, FRAME, picture(mask), refine=True)
    assert not done.labels_HW.any()
    assert done.soft_HW.max() > 0.9


def test_segments_cover_everything_and_what_stands_out_is_apart() -> None:
    mask = disc()
    first = coarse(mask).soft_Khw[0]
    stands_out = np.zeros((12, 16), np.float32)
    stands_out[3, 3] = 1
    maps = PatchMaps(np.stack([first, 1 - first]), threshold=-1, score=1.0, saliency_hw=stands_out)
    done = render(maps, FRAME, picture(mask), refine=True)
    assert set(np.unique(done.labels_HW)) == {1, 2}
    assert iou(done.labels_HW == 1, mask) > 0.95
    row, column = np.unravel_index(done.soft_HW.argmax(), done.soft_HW.shape)
    assert abs(int(row) - 56) <= 16
    assert abs(int(column) - 56) <= 16


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (7, 500)])
def test_thin_images_come_back_in_their_size(shape: tuple[int, int]) -> None:
    geometry = PatchGeometry(shape, (32, 64), (2, 4), 16, 16)
    maps = PatchMaps(np.random.default_rng(0).random((1, 2, 4), dtype=np.float32), 0.5, 1.0)
    done = render(maps, geometry, np.zeros((1, *shape), np.uint8), refine=True)
    assert done.labels_HW.shape == done.soft_HW.shape == shape
    assert np.isfinite(done.soft_HW).all()
