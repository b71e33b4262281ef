"""The resampling against PIL, which is used in evaluation."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dinocli.augment.resample import normalise, resample, resize_square


def textured(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Return noise on several scales: edges, gradients and pixel noise."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3))
    for cell in (1, 3, 9, 40):
        coarse = rng.random((height // cell + 2, width // cell + 2, 3))
        fine = Image.fromarray((coarse * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        picture += np.asarray(fine) / 4
    return picture.round().astype(np.uint8)


def canvases(pictures: list[NDArray[np.uint8]], fill: int = 0) -> tuple[Tensor, Tensor]:
    """Return images in one padded batch, and their sizes."""
    sizes = torch.tensor([picture.shape[:2] for picture in pictures])
    height, width = sizes.amax(0).tolist()
    batch = torch.full((len(pictures), 3, height, width), fill, dtype=torch.uint8)
    for row, picture in zip(batch, pictures, strict=True):
        row[:, : picture.shape[0], : picture.shape[1]] = torch.tensor(picture).permute(2, 0, 1)
    return batch, sizes


def pil(picture: NDArray[np.uint8], box: list[int], size: int) -> NDArray[np.float64]:
    top, left, height, width = box
    cut = Image.fromarray(picture).crop((left, top, left + width, top + height))
    return np.asarray(cut.resize((size, size), Image.Resampling.BICUBIC), dtype=float)


def decibels(view: Tensor, wanted: NDArray[np.float64]) -> float:
    error = view.permute(1, 2, 0).numpy() * 255 - wanted
    return float(10 * np.log10(255**2 / np.maximum(np.mean(error**2), 1e-9)))


def upright(count: int) -> Tensor:
    return torch.zeros(count, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(720, 800, 224), (260, 300, 96), (228, 221, 224), (224, 224, 224), (97, 140, 224), (31, 40, 96)],
)
def test_equals_pil_within_its_rounding(height: int, width: int, size: int) -> None:
    picture = textured(height + 11, width + 17, seed=height)
    box = [5, 8, height, width]
    batch, _ = canvases([picture])
    view = resample(batch, torch.tensor([box]), size, upright(1))[0]
    assert decibels(view, pil(picture, box, size)) > 55


def test_a_batch_of_mixed_sizes_gives_each_image_its_own_box() -> None:
    pictures = [textured(300, 260, 1), textured(120, 410, 2), textured(500, 90, 3)]
    boxes = [[20, 10, 250, 240], [0, 100, 120, 300], [444, 50, 56, 40]]
    batch, _ = canvases(pictures, fill=255)
    views = resample(batch, torch.tensor(boxes), 96, upright(3))
    for view, picture, box in zip(views, pictures, boxes, strict=True):
        assert decibels(view, pil(picture, box, 96)) > 55


def test_borders_are_weighted_as_pil_does() -> None:
    # A gradient: with replicated border pixels instead of dropped taps, the border would differ by several levels.
    slope = np.repeat(np.linspace(0, 255, 90).round().astype(np.uint8)[:, None, None], 3, axis=2).repeat(40, axis=1)
    batch, _ = canvases([slope])
    view = resample(batch, torch.tensor([[0, 0, 90, 40]]), 8, upright(1))[0]
    assert np.abs(view.permute(1, 2, 0).numpy() * 255 - pil(slope, [0, 0, 90, 40], 8)).max() < 0.75


def test_pixels_outside_the_box_have_no_effect() -> None:
    inside = torch.full((1, 1, 80, 70), 100, dtype=torch.uint8)
    box = torch.tensor([[20, 10, 33, 41]])
    around = torch.full_like(inside, 255)
    around[:, :, 20:53, 10:51] = 100
    assert torch.equal(resample(around, box, 24, upright(1)), resample(inside, box, 24, upright(1)))


def test_mirrors_reverse_the_view() -> None:
    batch, _ = canvases([textured(90, 70, 4)] * 4)
    boxes = torch.tensor([[3, 5, 80, 60]] * 4)
    plain, down, right, both = resample(batch, boxes, 32, torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]]).bool())
    torch.testing.assert_close(down, plain.flip(1))
    torch.testing.assert_close(right, plain.flip(2))
    torch.testing.assert_close(both, plain.flip(1, 2))


def test_shrinking_averages_noise_away() -> None:
    noise = torch.randint(0, 256, (1, 1, 512, 512), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    view = resample(noise, torch.tensor([[0, 0, 512, 512]]), 64, upright(1))
    # 8 x 8 pixels make one. Without antialias the noise would keep nearly all of its strength.
    strength = float(view.std() / (noise.float().std() / 255))
    wanted = np.asarray(Image.fromarray(noise[0, 0].numpy()).resize((64, 64), Image.Resampling.BICUBIC), dtype=float)
    assert strength == pytest.approx(wanted.std() / float(noise.float().std()), rel=0.01)
    assert strength < 0.2


def test_values_stay_in_range_and_flat_stays_flat() -> None:
    edge = torch.zeros(1, 1, 40, 40, dtype=torch.uint8)
    edge[..., 20:] = 255
    view = resize_square(edge, torch.tensor([[40, 40]]), 100)
    assert float(view.min()) == 0
    assert float(view.max()) == 1
    flat = resize_square(torch.full((1, 3, 37, 53), 77, dtype=torch.uint8), torch.tensor([[37, 53]]), 24)
    torch.testing.assert_close(flat, torch.full_like(flat, 77 / 255))


def test_deep_canvases_keep_their_levels() -> None:
    ramp = torch.arange(0, 65536, 16).to(torch.uint16).view(1, 1, 64, 64)
    view = resize_square(ramp, torch.tensor([[64, 64]]), 64)
    assert len(set(view.flatten().tolist())) > 1000
    torch.testing.assert_close(view.flatten(), torch.arange(0, 65536, 16) / 65535, atol=1e-6, rtol=0)


def test_resize_square_squashes_the_whole_image_without_its_padding() -> None:
    pictures = [textured(200, 90, 5), textured(70, 160, 6)]
    batch, sizes = canvases(pictures, fill=200)
    views = resize_square(batch, sizes, 96)
    for view, picture in zip(views, pictures, strict=True):
        assert decibels(view, pil(picture, [0, 0, *picture.shape[:2]], 96)) > 55


def test_autocast_around_it_changes_nothing() -> None:
    batch, sizes = canvases([textured(80, 80, 7)])
    plain = resize_square(batch, sizes, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resize_square(batch, sizes, 32), plain)


def test_one_channel_is_normalised_to_three() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)
    views = torch.full((2, 1, 4, 4), 0.6)
    done = normalise(views, mean, std)
    assert done.shape == (2, 3, 4, 4)
    assert done[0, :, 0, 0].tolist() == pytest.approx([1.0, 1.6, 1.5])
    torch.testing.assert_close(normalise(views.expand(2, 3, 4, 4), mean, std), done)
