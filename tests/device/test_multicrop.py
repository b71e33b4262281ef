"""The multi-crop on a device: the pixels of the CPU, few kernels, one copy, and a host that never waits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dinocli.augment.colour_jitter import blend, shift_hue
from dinocli.augment.multicrop import MultiCrop, begin_views, end_views
from dinocli.augment.resample import box_weights, crop_boxes
from tests.augment.test_multicrop import EVERYTHING, SIZES, build, canvases, everything, small
from tests.augment.test_resample import canvases as padded
from tests.augment.test_resample import decibels, pil, textured
from tests.device.pretend import DeviceTensor, PretendDevice

KERNELS = {"weights": 6, "begin": 1, "blend": 4, "hue": 2, "end": 8}
"""Of the functions that `MultiCrop.compile` compiles; the slow test below counts them."""

MOST_KERNELS = 150


def views_of(crop: MultiCrop, pixels: Tensor, sizes: Tensor = SIZES) -> list[Tensor]:
    return crop(pixels, sizes, step=3, start=0, global_batch=len(pixels))


def held(views: list[Tensor]) -> list[Tensor]:
    assert all(isinstance(view, DeviceTensor) for view in views)
    return [view.held for view in views if isinstance(view, DeviceTensor)]


@pytest.mark.parametrize("kind", ["colour", "grey", "one size"])
def test_the_pixels_are_those_of_the_cpu(pretend: PretendDevice, kind: str) -> None:
    local = EVERYTHING if kind == "one size" else small(EVERYTHING)
    crop = build(EVERYTHING, EVERYTHING, local, grey=kind == "grey")
    pixels = canvases(1 if kind == "grey" else 3)
    there = held(views_of(crop, pixels.to(pretend.device)))
    for wanted, found in zip(views_of(crop, pixels), there, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_deep_canvases_come_out_as_on_the_cpu(pretend: PretendDevice) -> None:
    pixels = (torch.arange(6 * 70 * 70) % 65536).to(torch.uint16).view(6, 1, 70, 70)
    crop = build(EVERYTHING, EVERYTHING, small(EVERYTHING), grey=True)
    there = held(views_of(crop, pixels.to(pretend.device)))
    for wanted, found in zip(views_of(crop, pixels), there, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_pieces_are_the_whole(pretend: PretendDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = canvases().to(pretend.device)
    whole = held(views_of(everything(), pixels))
    monkeypatch.setattr("dinocli.augment.resample.MAX_CROP_BYTES", 1 << 20)
    for one, other in zip(held(views_of(everything(), pixels)), whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def counted(crop: MultiCrop, monkeypatch: pytest.MonkeyPatch, pretend: PretendDevice) -> list[str]:
    """Note which of the compiled functions are called; what happens inside them is not counted."""
    called: list[str] = []

    def hidden(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            called.append(name)
            before = pretend._counts.copy()
            result = work(*args, **options)
            pretend._counts.clear()
            pretend._counts.update(before)
            return result

        return run

    monkeypatch.setattr(crop, "_weights", hidden("weights", box_weights))
    monkeypatch.setattr(crop, "_begin", hidden("begin", begin_views))
    monkeypatch.setattr(crop, "_end", hidden("end", end_views))
    for kind in crop._kinds:
        monkeypatch.setattr(kind.jitter, "blend", hidden("blend", blend))
        monkeypatch.setattr(kind.jitter, "shift_hue", hidden("hue", shift_hue))
    return called


@pytest.mark.parametrize("images", [2, 300])
def test_few_kernels_one_copy_no_wait(pretend: PretendDevice, monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    crop = everything()
    called = counted(crop, monkeypatch, pretend)
    pixels = torch.zeros(images, 3, 24, 30, dtype=torch.uint8).to(pretend.device)
    sizes = torch.tensor([[24, 30]]).expand(images, 2)
    views_of(crop, pixels, sizes)  # sends mean and deviation, once
    pretend.forget()
    called.clear()
    views_of(crop, pixels, sizes)
    assert sorted(set(called)) == [*sorted(KERNELS)]
    kernels = sum(pretend.kernels.values()) + sum(KERNELS[name] for name in called)
    assert sum(pretend.kernels.values()) > 5
    assert kernels <= MOST_KERNELS, (kernels, pretend.kernels)
    assert sum(pretend.copies.values()) == 1
    assert not pretend.waits


def tf32(values: Tensor) -> Tensor:
    """Cut the mantissa to ten bits, the worse of the two ways in which hardware may do it."""
    return (values.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize(("height", "width", "size"), [(720, 800, 224), (260, 300, 96), (97, 140, 224)])
def test_tensor_cores_stay_within_the_rounding_of_pil(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int, size: int
) -> None:
    product = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda one, other: product(tf32(one), tf32(other)))
    picture = textured(height + 11, width + 17, seed=height)
    box = [5, 8, height, width]
    batch, _ = padded([picture])
    geometry = torch.tensor([[*box, 0, 0]]).float()
    views = crop_boxes(batch, geometry, size, max(height, width))[0, 0].permute(1, 2, 0) / 255
    assert decibels(views.clamp(0, 1), pil(picture, box, size)) > 55


def test_deep_pixels_keep_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    product = torch.bmm

    def watched(one: Tensor, other: Tensor) -> Tensor:
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        return product(one, other)

    monkeypatch.setattr(torch, "bmm", watched)
    before = torch.backends.cuda.matmul.fp32_precision
    for dtype in (torch.uint8, torch.uint16):
        pixels = torch.zeros(1, 1, 20, 20).to(dtype)
        crop_boxes(pixels, torch.tensor([[0.0, 0, 20, 20, 0, 0]]), 8, 20)
    assert seen == ["tf32"] * 2 + ["ieee"] * 2
    assert torch.backends.cuda.matmul.fp32_precision == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The distutils package:DeprecationWarning")  # imported by torch's compiler
def test_compiled_views_are_the_same_and_as_few_kernels_as_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's compiler for the CPU, which fuses as the one for GPUs does; a loop is a kernel there."""
    import torch._inductor.metrics as metrics

    plain, crop = everything(), everything()
    crop.compile()
    counts: dict[str, int] = {}
    pixels = canvases()
    kind, drawn = crop._kinds[0], crop._draw(SIZES, (), 3, 0, 6)

    def noted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            metrics.generated_kernel_count = 0
            result = work(*args, **options)
            counts.setdefault(name, metrics.generated_kernel_count)
            return result

        return run

    for name in ("weights", "begin", "end"):
        monkeypatch.setattr(crop, f"_{name}", noted(name, getattr(crop, f"_{name}")))
    monkeypatch.setattr(kind.jitter, "blend", noted("blend", kind.jitter.blend))
    monkeypatch.setattr(kind.jitter, "shift_hue", noted("hue", kind.jitter.shift_hue))
    for one, other in zip(crop._views_on_device(pixels, SIZES, drawn), views_of(plain, pixels), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    counts["end"] += 2  # the products of the blur
    assert counts == KERNELS
