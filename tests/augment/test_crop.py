"""The random boxes against torchvision and the properties documented by Kornia."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from dinocli.augment.crop import AntialiasedCrop, CropGenerator, choose_boxes

SCALE, RATIO = (0.2, 0.9), (0.75, 4 / 3)


def boxes_of(height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], count: int) -> Tensor:
    torch.manual_seed(3)
    params = CropGenerator(0.5, 0.5, 0.5)((count, 1, 1, 1))
    return choose_boxes(params, torch.tensor([[height, width]]).expand(count, 2), scale, ratio).double()


def torchvision_boxes(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], count: int
) -> Tensor:
    torch.manual_seed(4)
    image = torch.zeros(1, height, width)
    draw = [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(count)]
    return torch.tensor(draw).double()


def properties(boxes: Tensor) -> list[Tensor]:
    """Return area, ratio, top and left of boxes."""
    top, left, height, width = boxes.unbind(1)
    return [height * width, (width / height).log(), top, left]


@pytest.mark.parametrize(("height", "width"), [(300, 300), (200, 420)])
def test_boxes_have_the_distribution_of_torchvision(height: int, width: int) -> None:
    ours = boxes_of(height, width, SCALE, RATIO, 4000)
    theirs = torchvision_boxes(height, width, SCALE, RATIO, 4000)
    quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95]).double()
    for mine, wanted in zip(properties(ours), properties(theirs), strict=True):
        a, b = mine.quantile(quantiles), wanted.quantile(quantiles)
        torch.testing.assert_close(a, b, atol=0.1 * float(wanted.std()), rtol=0)


def test_area_is_even_and_ratio_even_in_its_logarithm() -> None:
    boxes = boxes_of(1000, 1000, (0.1, 0.5), (0.5, 2.0), 8000)
    area = boxes[:, 2] * boxes[:, 3] / 1e6
    ratio = (boxes[:, 3] / boxes[:, 2]).log()
    assert float(area.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(area.std()) == pytest.approx(0.4 / math.sqrt(12), abs=0.005)
    assert float(ratio.mean()) == pytest.approx(0, abs=0.02)
    assert float(ratio.std()) == pytest.approx(2 * math.log(2) / math.sqrt(12), abs=0.01)


def test_boxes_lie_inside_the_image_and_reach_its_borders() -> None:
    boxes = boxes_of(40, 60, (0.05, 0.4), RATIO, 4000)
    assert bool((boxes[:, :2] >= 0).all())
    assert bool((boxes[:, 2:] >= 1).all())
    assert (boxes[:, 0] + boxes[:, 2]).max() == 40
    assert (boxes[:, 1] + boxes[:, 3]).max() == 60
    assert boxes[:, :2].amin(0).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    [(30, 300, [0, 130, 30, 40]), (300, 30, [130, 0, 40, 30]), (100, 90, [0, 0, 100, 90]), (1, 9, [0, 4, 1, 1])],
)
def test_an_image_without_a_fitting_box_gives_its_centre(height: int, width: int, wanted: list[int]) -> None:
    # An area above the whole image never fits.
    boxes = boxes_of(height, width, (1.5, 1.6), RATIO, 3)
    assert boxes.tolist() == [wanted] * 3
    assert torchvision_boxes(height, width, (1.5, 1.6), RATIO, 1).tolist() == [wanted]


def test_each_image_has_its_own_true_size() -> None:
    torch.manual_seed(0)
    params = CropGenerator(0, 0, 0)((3, 1, 1, 1))
    sizes = torch.tensor([[50, 50], [20, 90], [64, 32]])
    boxes = choose_boxes(params, sizes, SCALE, RATIO)
    assert bool((boxes[:, :2] + boxes[:, 2:] <= sizes).all())
    alone = choose_boxes({k: v[1:2] for k, v in params.items()}, sizes[1:2], SCALE, RATIO)
    assert torch.equal(alone[0], boxes[1])


def whole(rot90: float, count: int, hflip: float = 0.0, vflip: float = 0.0) -> tuple[AntialiasedCrop, Tensor]:
    """Return a crop of the whole image, and numbered pixels that show flips and rotations."""
    pixels = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).repeat(count, 1, 1, 1)
    return AntialiasedCrop(8, (1.0, 1.0), (1.0, 1.0), hflip, vflip, rot90), pixels


def test_turns_are_the_three_rotations_equally_often() -> None:
    crop, pixels = whole(1.0, 300)
    torch.manual_seed(0)
    views = crop(pixels)
    for turns in (1, 2, 3):
        mine = crop._params["turns"] == turns
        assert 70 < int(mine.sum()) < 130
        rotated = pixels[0].rot90(turns, (1, 2)) / 255
        torch.testing.assert_close(views[mine], rotated.expand(int(mine.sum()), -1, -1, -1))


def test_flips_come_before_turns() -> None:
    crop, pixels = whole(1.0, 60, hflip=0.5, vflip=0.5)
    torch.manual_seed(0)
    views = crop(pixels)
    seen = set()
    for number, view in enumerate(views):
        down, right, turns = (int(crop._params[name][number]) for name in ("vflip", "hflip", "turns"))
        seen.add((down, right, turns))
        flipped = pixels[0].flip([axis for axis, on in ((1, down), (2, right)) if on])
        torch.testing.assert_close(view, flipped.rot90(turns, (1, 2)) / 255)
    assert len(seen) == 12


def test_replay_gives_the_same_views() -> None:
    crop = AntialiasedCrop(16, SCALE, RATIO, 0.5, 0.5, 0.5)
    pixels = torch.randint(0, 256, (5, 3, 40, 50), dtype=torch.uint8)
    sizes = torch.tensor([[40, 50], [30, 20], [10, 50], [40, 8], [25, 25]])
    first = crop(pixels, sizes_B2=sizes)
    params = crop._params
    assert not torch.equal(crop(pixels, sizes_B2=sizes), first)
    assert torch.equal(crop(pixels, params=params), first)


def test_floats_are_refused() -> None:
    with pytest.raises(TypeError, match="uint8 or uint16; got torch"):
        whole(0.0, 1)[0](torch.rand(1, 1, 8, 8))
