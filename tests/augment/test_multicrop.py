"""Properties that training relies on: order of views, options per view, stateless random numbers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dinocli.augment.colour_jitter import PerImageJitter
from dinocli.augment.multicrop import MultiCrop
from dinocli.augment.resample import resize_square
from dinocli.augment.view_pipeline import ViewSpec
from dinocli.data.canvas import rgb

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SIZES = torch.tensor([[60, 50], [40, 70], [64, 64], [33, 45], [70, 30], [50, 50]])
# Everything off: a plain crop. `EVERYTHING` turns all of it on.
PLAIN = ViewSpec(
    size=32,
    scale=(0.4, 1.0),
    ratio=(0.75, 4 / 3),
    hflip=0.0,
    vflip=0.0,
    rot90=0.0,
    jitter=0.0,
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    grayscale=0.0,
    blur=0.0,
    blur_sigma=(0.5, 2.0),
    solarize=0.0,
)
EVERYTHING = replace(PLAIN, hflip=0.5, vflip=0.5, rot90=0.5, jitter=0.8, grayscale=0.3, blur=0.6, solarize=0.4)
LOCALS = 3


def small(spec: ViewSpec) -> ViewSpec:
    """Return the local view next to a global one."""
    return replace(spec, size=16, scale=(0.05, 0.4))


def canvases(channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (6, channels, 70, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def build(g1: ViewSpec, g2: ViewSpec, local: ViewSpec | None, *, grey: bool = False, seed: int = 7) -> MultiCrop:
    return MultiCrop([g1, g2, *([local] * LOCALS if local else [])], mean=MEAN, std=STD, grey=grey, seed=seed)


def everything(seed: int = 7) -> MultiCrop:
    return build(EVERYTHING, EVERYTHING, small(EVERYTHING), seed=seed)


def make(crop: MultiCrop, pixels: Tensor | None = None, step: int = 3) -> list[Tensor]:
    """Return all views of the batch, one (B, 3, S, S) tensor each."""
    pixels = canvases() if pixels is None else pixels
    batches = crop(pixels, SIZES[: len(pixels)], step=step, start=0, global_batch=len(pixels))
    return [view for batch in batches for view in batch.chunk(len(batch) // len(pixels))]


def test_shapes_one_batch_per_resolution() -> None:
    def shapes(*specs: ViewSpec | None) -> list[tuple[int, ...]]:
        crop = build(PLAIN, PLAIN, *specs)
        return [tuple(batch.shape) for batch in crop(canvases(), SIZES, step=0, start=0, global_batch=6)]

    assert shapes(replace(PLAIN, size=16)) == [(12, 3, 32, 32), (18, 3, 16, 16)]
    assert shapes(PLAIN) == [(30, 3, 32, 32)]
    assert shapes(None) == [(12, 3, 32, 32)]


def test_views_are_view_major_and_normalised() -> None:
    levels = torch.tensor([10, 60, 110, 160, 210, 250], dtype=torch.uint8)
    pixels = levels.view(6, 1, 1, 1).expand(6, 3, 70, 70).contiguous()
    crop = build(PLAIN, PLAIN, small(PLAIN))
    wanted = (levels[:, None] / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    batches = crop(pixels, SIZES, step=0, start=0, global_batch=6)
    for batch, views in zip(batches, (2, LOCALS), strict=True):
        constant = wanted.repeat(views, 1)[:, :, None, None].expand_as(batch)
        torch.testing.assert_close(batch, constant, atol=1e-5, rtol=0)


def test_views_of_one_image_differ_and_so_do_images() -> None:
    views = make(everything(), canvases()[:1].repeat(6, 1, 1, 1))
    seen = {image.numpy().tobytes() for view in views for image in view}
    assert len(seen) == len(views) * 6


# Each option, a base on which it shows, and its changed value.
OPTIONS = [
    ("scale", PLAIN, (0.3, 0.5)),
    ("ratio", PLAIN, (0.5, 0.6)),
    ("hflip", PLAIN, 1.0),
    ("vflip", PLAIN, 1.0),
    ("rot90", PLAIN, 1.0),
    ("jitter", PLAIN, 1.0),
    ("brightness", replace(PLAIN, jitter=1.0), 0.2),
    ("contrast", replace(PLAIN, jitter=1.0), 0.2),
    ("saturation", replace(PLAIN, jitter=1.0), 0.4),
    ("hue", replace(PLAIN, jitter=1.0), 0.3),
    ("grayscale", PLAIN, 1.0),
    ("blur", PLAIN, 1.0),
    ("blur_sigma", replace(PLAIN, blur=1.0), (2.5, 3.0)),
    ("solarize", PLAIN, 1.0),
]


def test_every_option_has_a_case() -> None:
    assert {name for name, _, _ in OPTIONS} | {"size"} == set(ViewSpec.__dataclass_fields__)


@pytest.mark.parametrize("owner", [0, 1, 2])
@pytest.mark.parametrize(("name", "base", "value"), OPTIONS, ids=[name for name, _, _ in OPTIONS])
def test_an_option_changes_every_image_of_its_own_views_alone(
    name: str, base: ViewSpec, value: Any, owner: int
) -> None:
    specs = [base, base, replace(base, size=16)]
    before = make(build(*specs))
    specs[owner] = replace(specs[owner], **{name: value})
    after = make(build(*specs))
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        changed = [not torch.equal(a, b) for a, b in zip(old, new, strict=True)]
        assert changed == [min(number, 2) == owner] * 6


def test_size_belongs_to_its_own_view() -> None:
    views = make(build(replace(PLAIN, size=24), PLAIN, replace(PLAIN, size=16)))
    assert [view.shape[-1] for view in views] == [24, 32, 16, 16, 16]


def test_an_option_leaves_the_other_draws_as_they_are() -> None:
    blurred = replace(PLAIN, blur=0.5)
    flipped = [view.flip(-1) for view in make(build(blurred, blurred, None))]
    turned = replace(blurred, hflip=1.0, grayscale=1e-9)
    for ours, wanted in zip(make(build(turned, turned, None)), flipped, strict=True):
        torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)


def test_slices_are_bit_equal_to_the_whole_batch() -> None:
    crop, pixels = everything(), canvases()
    whole = make(crop)
    for cut in (slice(0, 2), slice(2, 5), slice(5, 6)):
        height, width = SIZES[cut].amax(0).tolist()  # a slice is padded to its own largest image
        batches = crop(pixels[cut, :, :height, :width], SIZES[cut], step=3, start=cut.start, global_batch=6)
        views = [view for batch in batches for view in batch.chunk(len(batch) // (cut.stop - cut.start))]
        assert all(torch.equal(part, view[cut]) for part, view in zip(views, whole, strict=True))


@pytest.mark.parametrize("local", [None, PLAIN, small(EVERYTHING)], ids=["none", "same size", "smaller"])
def test_global_views_alone_are_bit_equal_to_those_beside_local_ones(local: ViewSpec | None) -> None:
    crop = build(EVERYTHING, replace(EVERYTHING, solarize=0.0), local)
    (alone,) = crop.only_global()(canvases(), SIZES, step=3, start=0, global_batch=6)
    assert torch.equal(alone, torch.cat(make(crop)[:2]))


def test_random_numbers_are_a_function_of_seed_and_step_alone() -> None:
    def same(a: list[Tensor], b: list[Tensor]) -> list[bool]:
        return [torch.equal(x, y) for x, y in zip(a, b, strict=True)]

    crop = everything()
    first = make(crop)
    torch.rand(5)
    assert all(same(make(crop), first))
    assert all(same(make(everything()), first))
    assert not any(same(make(crop, step=4), first))
    assert not any(same(make(everything(seed=8)), first))


def test_the_global_random_generator_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    reseeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)  # drop path uses the generator of the GPU
    make(everything())
    assert not reseeded
    assert torch.equal(torch.rand(3), wanted)


def test_grey_canvases_give_what_grey_colours_give() -> None:
    grey = canvases(channels=1)
    calm = replace(EVERYTHING, saturation=0.0, hue=0.0, grayscale=0.0)
    colour = make(build(calm, calm, small(calm)), grey.expand(-1, 3, -1, -1).contiguous())
    # The options that grey folders drop are still set here.
    ours = make(build(EVERYTHING, EVERYTHING, small(EVERYTHING), grey=True), grey)
    for mine, wanted in zip(ours, colour, strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-4, rtol=0)


def test_each_channel_without_colours_is_changed_as_a_grey_image_is() -> None:
    half = (0.5,) * 5
    pixels, loud = canvases(channels=5), replace(EVERYTHING, jitter=1.0)
    crop = MultiCrop([loud, loud, small(loud)], mean=half, std=half, grey=False, seed=7)
    alone = MultiCrop([loud, loud, small(loud)], mean=half[:1], std=half[:1], grey=True, seed=7)
    for channel in range(5):  # hue, saturation and grayscale are still set, and one factor is drawn for all channels
        for view, grey in zip(make(crop, pixels), make(alone, pixels[:, channel : channel + 1]), strict=True):
            torch.testing.assert_close(view[:, channel : channel + 1], grey, atol=1e-5, rtol=0)
    pictures = crop.preview(pixels, SIZES, step=3)
    shown = make(crop, pixels)[0].numpy() * 0.5 + 0.5
    assert np.abs(pictures[0] - shown * 255).max() < 0.51


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_jitter_on_a_device_is_that_of_a_cpu(channels: int) -> None:
    views = torch.rand(6, channels, 12, 12, generator=torch.Generator().manual_seed(0))
    colour = channels == 3
    jitter = PerImageJitter(0.4, 0.4, 0.2 * colour, 0.1 * colour, p=1.0)
    params = jitter.forward_parameters(views.shape)
    on_cpu = jitter.apply_transform(views.clone(), params, {})
    on_device = jitter.apply_transform(views.clone(), jitter.split_at_hue(params), {})
    torch.testing.assert_close(on_device, on_cpu, atol=1e-5, rtol=0)


def test_deep_canvases_keep_their_levels() -> None:
    ramp = torch.linspace(0, 65535, 70 * 70).round().to(torch.uint16).view(1, 1, 70, 70)
    crop = MultiCrop([replace(PLAIN, size=64)] * 2, mean=MEAN, std=STD, grey=True, seed=0)
    (views,) = crop(ramp, torch.tensor([[70, 70]]), step=0, start=0, global_batch=1)
    assert len(set(views[0, 0].flatten().tolist())) > 1000


def test_a_crop_of_the_whole_image_equals_evaluation() -> None:
    whole = replace(PLAIN, scale=(1.5, 1.5))  # never fits, so the centre: all of an image of a moderate ratio
    pixels = canvases()[2:4]
    views, _ = make(MultiCrop([whole, whole], mean=(0, 0, 0), std=(1, 1, 1), grey=False, seed=0), pixels[:1])
    torch.testing.assert_close(views, resize_square(pixels[:1], SIZES[:1], 32))


def test_preview_shows_the_views_of_the_step() -> None:
    crop = everything()
    pictures = crop.preview(canvases(), SIZES, step=3)
    assert [picture.shape for picture in pictures] == [(6, 3, 32, 32)] * 2 + [(6, 3, 16, 16)] * LOCALS
    for picture, view in zip(pictures, make(crop), strict=True):
        shown = view.numpy() * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]
        assert np.abs(picture - shown * 255).max() < 0.51


def test_preview_of_one_channel_is_a_grey_canvas() -> None:
    crop = build(PLAIN, PLAIN, None, grey=True)
    picture = crop.preview(canvases(channels=1), SIZES, step=0)[0]
    assert picture.dtype == np.uint8
    assert picture.shape[1] == 1
    assert rgb(picture[0]).shape == (32, 32, 3)


def test_images_beyond_the_global_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="images 4 to 10 of a global batch of 8"):
        everything()(canvases(), SIZES, step=0, start=4, global_batch=8)
