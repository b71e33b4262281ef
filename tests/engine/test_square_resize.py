import numpy as np
import pytest
import torch

from dinocli.augment.resample import resize_square
from dinocli.data.tiling import Tiling, tile_boxes
from dinocli.engine.square_resize import aspect_size, squares, squashed
from tests.data.files import noise, settings


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(1, 30, 20), (3, 97, 64), (1, 32, 32), (1, 300, 5)])
def test_threads_squash_as_the_device_does(shape: tuple[int, int, int], dtype: str) -> None:
    canvas = noise(*shape, dtype=dtype)
    expected = resize_square(torch.from_numpy(canvas)[None], torch.tensor([shape[1:]]), 32)[0]
    found = squashed(canvas, (32, 32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)


def test_canvases_of_any_size_go_together() -> None:
    about = settings(size=32, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    canvases = [noise(1, *size, seed=seed) for seed, size in enumerate([(40, 50), (60, 30), (40, 50), (32, 32)])]
    together = squares(canvases, about, torch.device("cpu"))
    assert together.shape == (4, 3, 32, 32)
    for canvas, found in zip(canvases, together, strict=True):
        (alone,) = squares([canvas], about, torch.device("cpu"))
        torch.testing.assert_close(found, alone, rtol=0, atol=1e-5)
        (by_thread,) = squares([squashed(canvas, (32, 32))], about, torch.device("cpu"))
        torch.testing.assert_close(found, by_thread, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(100, 100), (101, 30), (10, 700), (64, 65)])
def test_tiles_cover_the_image_at_full_size(height: int, width: int) -> None:
    boxes = tile_boxes(height, width, Tiling(64, 8))
    covered = np.zeros((height, width), bool)
    for left, top, across, down in boxes:
        assert (across, down) == (min(64, width), min(64, height))
        covered[top : top + down, left : left + across] = True
    assert covered.all()
    assert len(set(boxes)) == len(boxes)
    assert boxes == sorted(boxes, key=lambda box: (box[1], box[0]))


def test_tiles_share_at_least_the_overlap() -> None:
    boxes = tile_boxes(64, 500, Tiling(64, 16))
    lefts = [box[0] for box in boxes]
    assert lefts[0] == 0
    assert lefts[-1] + 64 == 500
    assert set(np.diff(lefts)[:-1].tolist()) == {48}
    assert np.diff(lefts)[-1] <= 48


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(100, 100, (64, 64)), (100, 150, (64, 96)), (151, 100, (96, 64)), (10, 17, (64, 112)), (30, 4000, (64, 160))],
)
def test_kept_aspects_are_whole_cells(height: int, width: int, expected: tuple[int, int]) -> None:
    assert aspect_size(height, width, 64, 16) == expected
