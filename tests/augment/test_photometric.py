"""Colour and blur against torchvision and PIL."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from kornia import enhance
from kornia.augmentation import RandomGrayscale, RandomSolarize
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms import functional as tv

from dinocli.augment.colour_jitter import PerImageJitter, adjust_hue
from dinocli.augment.photometric import GaussianBlur, change_rows

FACTORS = {"brightness_factor": 1.3, "contrast_factor": 0.7, "saturation_factor": 1.4, "hue_factor": -0.08}
TOLERANCE = 2e-4  # torchvision rounds the weight of red in a luminance to 0.2989; a grey level is 4e-3
THEIRS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)


def pictures(count: int, size: int = 40, channels: int = 3) -> Tensor:
    """Return smooth colours with noise over the whole range of values."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    return (smooth * 1.2 - 0.1 + 0.1 * torch.rand(smooth.shape, generator=generator)).clamp(0, 1)


def to_pil(view: Tensor) -> Image.Image:
    return Image.fromarray((view.permute(1, 2, 0) * 255).round().byte().numpy())


@pytest.mark.parametrize("turn", [-0.5, -0.31, -0.1, 0.0, 0.02, 0.1, 0.27, 0.5])
def test_hue_equals_hsv(turn: float) -> None:
    views = torch.cat([pictures(2), torch.rand(1, 3, 40, 40), torch.full((1, 3, 40, 40), 0.4)])
    # Corners of the colour cube: two channels tie, or all three.
    views[2, :, 0, :8] = torch.tensor([[int(b) for b in f"{n:03b}"] for n in range(8)]).float().T
    turns = torch.full((4,), turn)
    torch.testing.assert_close(adjust_hue(views, turns), enhance.adjust_hue(views, turns * 2 * math.pi))


def test_every_order_of_the_jitter_equals_torchvision() -> None:
    orders = list(permutations(range(4)))
    views = pictures(1).repeat(len(orders), 1, 1, 1)
    params = {name: torch.full((len(orders),), value) for name, value in FACTORS.items()}
    jitter = PerImageJitter(0.4, 0.4, 0.4, 0.1, p=1.0)
    ours = jitter.apply_transform(views, params | {"order": torch.tensor(orders)}, jitter.flags)
    assert len(orders) == 24
    for order, mine, wanted in zip(orders, ours, views, strict=True):
        for number in order:
            wanted = THEIRS[number](wanted, list(FACTORS.values())[number])
        torch.testing.assert_close(mine, wanted, atol=TOLERANCE, rtol=0)
    assert len({view.numpy().tobytes() for view in ours}) > 12  # the order matters


@pytest.mark.parametrize("number", range(4))
def test_each_strength_changes_one_property_only(number: int) -> None:
    strengths = [0.0] * 4
    strengths[number] = 0.1
    jitter = PerImageJitter(strengths[0], strengths[1], strengths[2], strengths[3], p=1.0)
    torch.manual_seed(0)
    views = pictures(6)
    ours = jitter(views)
    factors = jitter._params[list(FACTORS)[number]]
    assert len(set(factors.tolist())) == 6
    for mine, view, factor in zip(ours, views, factors, strict=True):
        torch.testing.assert_close(mine, THEIRS[number](view, float(factor)), atol=TOLERANCE, rtol=0)


def test_orders_are_drawn_for_each_image_and_replayed() -> None:
    jitter = PerImageJitter(0.4, 0.4, 0.2, 0.1, p=0.8)
    torch.manual_seed(0)
    views = pictures(4).repeat(60, 1, 1, 1)
    first = jitter(views)
    params = jitter._params
    assert len({tuple(order) for order in params["order"].tolist()}) == 24
    assert torch.equal(jitter(views, params=params), first)
    assert not torch.equal(jitter(views), first)


@pytest.mark.parametrize("sigma", [0.6, 1.0, 1.5, 2.0])
def test_blur_is_close_to_pil(sigma: float) -> None:
    views = torch.stack([tv.to_tensor(to_pil(view)) for view in pictures(2, size=96)])
    blur = GaussianBlur((0.1, 2.0), p=1.0)
    ours = blur.apply_transform(views, {"sigma": torch.tensor([sigma, 1e-3])}, blur.flags)
    theirs = np.asarray(to_pil(views[0]).filter(ImageFilter.GaussianBlur(sigma)), dtype=float)
    error = ours[0].permute(1, 2, 0).numpy() * 255 - theirs
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 48
    torch.testing.assert_close(ours[1], views[1])  # each image has its own sigma; a very small one is not a blur


def test_blur_equals_a_slow_convolution() -> None:
    view, sigma, reach = torch.rand(1, 1, 9, 9), 1.7, 7
    blur = GaussianBlur((0.1, sigma), p=1.0)
    ours = blur.apply_transform(view, {"sigma": torch.tensor([sigma])}, blur.flags)
    weights = [math.exp(-((y * y + x * x) / (2 * sigma**2))) for y, x in grid(reach)]
    for row, column in ((0, 0), (4, 4), (8, 2)):
        values = [float(view[0, 0, clip(row + y), clip(column + x)]) for y, x in grid(reach)]
        slow = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        assert float(ours[0, 0, row, column]) == pytest.approx(slow, abs=1e-5)


def grid(reach: int) -> list[tuple[int, int]]:
    return [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]


def clip(place: int) -> int:
    return min(max(place, 0), 8)


def test_solarize_and_grayscale_equal_pil() -> None:
    views = torch.stack([tv.to_tensor(to_pil(view)) for view in pictures(3)])
    solarized = RandomSolarize(thresholds=(0.5, 0.5), additions=(0.0, 0.0), p=1.0)(views)
    greyed = RandomGrayscale(p=1.0)(views)
    for view, solar, grey in zip(views, solarized, greyed, strict=True):
        assert np.array_equal(np.asarray(to_pil(solar)), np.asarray(ImageOps.solarize(to_pil(view), 128)))
        wanted = np.asarray(to_pil(view).convert("L"), dtype=float)
        assert np.abs(grey[0].numpy() * 255 - wanted).max() < 0.6


def test_only_the_chosen_rows_are_computed() -> None:
    views = torch.zeros(5, 1, 2, 2)
    seen: list[int] = []

    def add(chosen: Tensor, amount: Tensor) -> Tensor:
        seen.append(len(chosen))
        return chosen + amount.view(-1, 1, 1, 1)

    amounts = torch.arange(1.0, 6.0)
    assert change_rows(views, [1, 3], add, amounts)[:, 0, 0, 0].tolist() == [0, 2, 0, 4, 0]
    assert change_rows(views, [], add, amounts)[:, 0, 0, 0].tolist() == [0, 2, 0, 4, 0]
    assert change_rows(views, [0, 1, 2, 3, 4], add, amounts)[:, 0, 0, 0].tolist() == [1, 4, 3, 8, 5]
    assert seen == [2, 5]
