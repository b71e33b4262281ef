import copy
from contextlib import nullcontext
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dinocli.errors import UsageError, WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone

# name, two sides in pixels, width of the pooled feature, patch, leading tokens
VITS = [
    ("test_vit", (64, 96), 96, 16, 1),
    ("vit_tiny_patch16_224", (96, 224), 96, 16, 1),
    ("vit_small_patch8_224.dino", (48, 96), 96, 8, 1),
    ("vit_small_patch14_dinov2", (98, 112), 96, 14, 1),
    ("vit_small_patch14_reg4_dinov2", (98, 112), 96, 14, 5),
    ("vit_small_patch16_dinov3", (96, 112), 96, 16, 5),
]
CONVNETS = [
    ("resnet10t", (96, 65), 512, 0, 0),
    ("convnext_atto", (96, 64), 320, 0, 0),
    ("tf_efficientnet_lite0", (96, 65), 1280, 0, 0),
    ("swin_tiny_patch4_window7_224", (96, 64), 768, 0, 0),
]


TWO = {"depth": 2, "embed_dim": 96, "num_heads": 6}
"""Model arguments for two narrow transformer blocks; further ones would be alike."""
FOUR = {"depths": (1, 1, 1, 1)}
"""Likewise, for a transformer with stages."""


@pytest.mark.parametrize(("name", "sides", "dim", "patch", "prefix"), VITS + CONVNETS)
def test_every_family_at_two_sizes(name: str, sides: tuple[int, int], dim: int, patch: int, prefix: int) -> None:
    backbone = create_backbone(name, model_args=TWO if patch else FOUR if name.startswith("swin") else None).eval()
    assert (backbone.name, backbone.dim, backbone.patch, backbone.is_vit) == (name, dim, patch, patch > 0)
    with torch.no_grad():
        for side in sides:
            x = torch.randn(2, 3, side, side)
            assert backbone(x).shape == (2, dim)
            tokens = backbone.patch_tokens(x)
            if patch:
                assert tokens.shape == (2, dim, side // patch, side // patch)
                assert backbone.model.num_prefix_tokens == prefix
            assert tokens.ndim == 4


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3", "resnet10t", "convnext_atto"])
def test_native_size_is_timm_unchanged(name: str) -> None:
    backbone = create_backbone(name, model_args=TWO if name.startswith("vit") else None).eval()
    x = torch.randn(1, 3, *backbone.model.pretrained_cfg["input_size"][1:])
    x = x if backbone.is_vit else x.to(memory_format=torch.channels_last)  # another order is rounded differently
    with torch.no_grad():
        assert torch.equal(backbone(x), backbone.model(x))
        if backbone.is_vit:
            tokens = backbone.model.forward_features(x)[:, backbone.model.num_prefix_tokens :]
            assert torch.equal(backbone.patch_tokens(x).flatten(2).transpose(1, 2), tokens)


def _small_twin(backbone: Backbone, side: int, position: Tensor) -> nn.Module:
    """Return the same network built for another size, with the given position embedding."""
    twin: nn.Module = timm.create_model(backbone.name, num_classes=0, img_size=side, **TWO)
    twin.load_state_dict(backbone.model.state_dict() | {"pos_embed": position})
    return twin.eval()


def test_local_views_see_dinos_position_embedding() -> None:
    backbone = create_backbone("vit_tiny_patch16_224", model_args=TWO).eval()
    position = backbone.model.pos_embed.detach()
    patches = position[:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, scale_factor=6.1 / 14, mode="bicubic").flatten(2).transpose(1, 2)
    twin = _small_twin(backbone, 96, torch.cat([position[:, :1], patches], 1))
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(backbone(x), twin(x))


def test_dinov2_with_registers_is_antialiased() -> None:
    backbone = create_backbone("vit_small_patch14_reg4_dinov2", model_args=TWO).eval()
    assert backbone.antialias
    patches = backbone.model.pos_embed.detach().reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=(7, 7), mode="bicubic", antialias=True)
    twin = _small_twin(backbone, 98, patches.flatten(2).transpose(1, 2))
    x = torch.randn(1, 3, 98, 98)
    with torch.no_grad():
        assert torch.equal(backbone(x), twin(x))
    assert not create_backbone("vit_tiny_patch16_224", model_args=TWO).antialias


def test_patches_are_row_by_row() -> None:
    backbone = create_backbone("vit_tiny_patch16_224", model_args=TWO).eval()
    backbone.model.blocks = nn.Sequential()  # no mixing: each token then depends on its own patch only
    x = torch.zeros(1, 3, 64, 96)
    x[:, :, 16:32, 48:64] = 1
    with torch.no_grad():
        changed = (backbone.patch_tokens(x) != backbone.patch_tokens(torch.zeros_like(x))).any(1)[0]
    assert changed.nonzero().tolist() == [[1, 3]]


def test_sizes_that_do_not_fit_are_named() -> None:
    backbone = create_backbone("vit_tiny_patch16_224", model_args=TWO)
    with pytest.raises(UsageError, match=r"100x100 px is not a multiple of the 16-px patches .* use 96 or 112"):
        backbone(torch.zeros(1, 3, 100, 100))
    with pytest.raises(UsageError, match="224x224 px only, not 112x112"):
        create_backbone("eva02_tiny_patch14_224")(torch.zeros(1, 3, 112, 112))


@pytest.mark.parametrize(
    ("name", "one"), [("levit_128s", True), ("coatnet_nano_rw_224", True), ("swin_tiny_patch4_window7_224", False)]
)
def test_fixed_size_is_detected_beyond_timms_setting(name: str, one: bool) -> None:
    backbone = create_backbone(name, model_args=FOUR if name.startswith("swin") else None)
    assert backbone.model.pretrained_cfg["fixed_input_size"]
    assert (backbone.fixed_size, backbone.native_size) == (one, 224)
    with pytest.raises(UsageError, match="224x224 px only, not 96x96") if one else nullcontext():
        backbone(torch.zeros(1, 3, 96, 96))


@torch.no_grad()
def test_a_smaller_stride_adds_patches_between_the_same_ones() -> None:
    backbone = create_backbone("vit_tiny_patch16_224", model_args=TWO).eval()
    images = torch.rand(2, 3, 64, 96)
    coarse, tokens = backbone.model.patch_embed(images), backbone.patch_tokens(images)
    backbone.set_stride(8)
    fine = backbone.model.patch_embed(images).reshape(2, 7, 11, -1)
    assert torch.allclose(fine[:, ::2, ::2].flatten(1, 2), coarse, atol=1e-5)
    assert backbone.patch_tokens(images).shape == (2, tokens.shape[1], 7, 11)
    backbone.set_stride(16)
    assert torch.equal(backbone.patch_tokens(images), tokens)


@pytest.mark.parametrize("name", ["resnet10t", "vit_small_patch16_dinov3", "test_vit"])
def test_an_unusable_stride_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot take a smaller stride .* larger --size"):
        create_backbone(name, model_args=TWO if name.startswith("vit") else None).set_stride(8)


@pytest.mark.parametrize("step", [0, -4, 5, 32])
def test_the_stride_must_divide_the_patch_size(step: int) -> None:
    with pytest.raises(UsageError, match=f"a stride of {step} does not divide the 16-px patches"):
        create_backbone("vit_tiny_patch16_224", model_args=TWO).set_stride(step)


def test_position_embedding_trains_through_the_resampling() -> None:
    backbone = create_backbone("vit_tiny_patch16_224", model_args=TWO)
    backbone(torch.randn(1, 3, 96, 96)).square().mul(torch.arange(96.0)).sum().backward()  # a plain sum is constant
    grad = backbone.model.pos_embed.grad
    assert grad is not None
    assert grad.shape == (1, 197, 96)
    assert (grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t"])
def test_a_deep_copy_is_independent(name: str) -> None:
    student = create_backbone(name, model_args=TWO if name.startswith("vit") else None)
    student.freeze_batch_norm()
    teacher = copy.deepcopy(student).eval()
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        before = teacher(x)
        for parameter in student.parameters():
            parameter.zero_()
        assert torch.equal(teacher(x), before)
    teacher.train()
    assert all(not m.training for m in teacher.modules() if isinstance(m, nn.BatchNorm2d))


def _gradients(backbone: Backbone) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in backbone.parameters() if parameter.grad is not None]


def test_ddp_gives_the_same_gradient(tmp_path: Path) -> None:
    backbone = create_backbone("vit_tiny_patch16_224", model_args=TWO)
    x = torch.randn(2, 3, 96, 96)
    backbone(x).square().mul(torch.arange(backbone.dim)).sum().backward()
    alone = _gradients(backbone)
    backbone.zero_grad()
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        DistributedDataParallel(backbone)(x).square().mul(torch.arange(backbone.dim)).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    for parameter, expected in zip(backbone.parameters(), alone, strict=True):
        torch.testing.assert_close(parameter.grad, expected)


def _statistics(backbone: Backbone) -> list[Tensor]:
    return [value.clone() for key, value in backbone.state_dict().items() if "running" in key or "tracked" in key]


@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnet_lite0"])
def test_frozen_batch_norm_keeps_its_statistics(name: str) -> None:
    backbone = create_backbone(name)
    assert backbone.has_batch_norm
    keys = list(backbone.state_dict())
    before = _statistics(backbone)
    backbone(torch.randn(2, 3, 64, 64))
    assert not all(map(torch.equal, before, _statistics(backbone)))  # the statistics have changed

    backbone.freeze_batch_norm()
    wrapper = nn.Sequential(backbone).train()
    before = _statistics(backbone)
    wrapper(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(map(torch.equal, before, _statistics(backbone)))
    assert list(backbone.state_dict()) == keys
    assert backbone.training
    assert backbone.model.bn1.weight.grad is not None


def test_only_convnets_have_batch_norm() -> None:
    assert not create_backbone("vit_tiny_patch16_224", model_args=TWO).has_batch_norm
    assert not create_backbone("convnext_atto").has_batch_norm


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t"])
def test_checkpointing_changes_no_gradient(name: str) -> None:
    backbone = create_backbone(
        name, model_args=TWO if name.startswith("vit") else None
    ).double()  # folded and plain batch norm round differently in single precision
    backbone.freeze_batch_norm()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    gradients = []
    for enable in (False, True):
        backbone.zero_grad()
        backbone.set_grad_checkpointing(enable)
        backbone(x).square().mul(torch.arange(backbone.dim)).sum().backward()
        gradients.append(_gradients(backbone))
    assert backbone.model.grad_checkpointing
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_drop_path_reaches_the_model() -> None:
    def rates(drop_path: float) -> list[float]:
        model = create_backbone("vit_tiny_patch16_224", drop_path=drop_path, model_args=TWO).model
        return [module.drop_prob for module in model.modules() if type(module).__name__ == "DropPath"]

    assert rates(0.0) == []
    assert max(rates(0.3)) == pytest.approx(0.3)
    assert create_backbone("ghostnet_050", drop_path=0.3).dim == 1280  # has no stochastic depth, but can be built


def test_a_name_that_is_like_no_other_leads_to_the_list() -> None:
    with pytest.raises(WeightsError, match=r"'nonsense'; no name is like it; timm.list_models\(\) in Python lists all"):
        create_backbone("nonsense")


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(WeightsError, match="'vit_smal_patch16_224'; the nearest names are: vit_small_patch16_224,"):
        create_backbone("vit_smal_patch16_224")
    with pytest.raises(WeightsError, match=r"vit_small_patch16_224\.dino\b"):
        create_backbone("vit_small_patch16_224.dina")


def test_an_unsuitable_model_is_refused() -> None:
    with pytest.raises(WeightsError, match="vit_tiny_r_s16_p8_224 gives no pooled feature"):
        create_backbone("vit_tiny_r_s16_p8_224")


@pytest.mark.parametrize(("name", "is_last"), [("resnet10t", True), ("vit_tiny_patch16_224", False)])
def test_convnets_keep_the_channels_of_a_pixel_together(name: str, is_last: bool) -> None:
    """For activations, not for weights and gradients: fused optimizers process both in memory order."""
    backbone = create_backbone(name, model_args=TWO if name.startswith("vit") else None)
    seen: list[bool] = []
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, args: seen.append(_is_last(args[0])))
    backbone(torch.randn(2, 3, 64, 64)).sum().backward()
    assert seen
    assert set(seen) == {is_last}
    assert all(p.is_contiguous() for p in backbone.parameters())
    assert all(p.grad.is_contiguous() for p in backbone.parameters() if p.grad is not None)


def _is_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def test_a_network_of_an_unknown_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's NaFlexViT has blocks and class tokens, but no patches of one size."""
    odd = nn.Module()
    vars(odd).update(num_prefix_tokens=1, blocks=[])
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: odd)
    with pytest.raises(WeightsError, match="test_vit: networks of this kind are not supported"):
        create_backbone("test_vit")
