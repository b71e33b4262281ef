"""LoRA: no effect at the start, in all attention layers, and removable by folding."""

import copy

import pytest
import timm
import torch
from torch import Tensor

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.models.lora import LowRank, add_lora, attention_linears, folded_state

THREE = {"depth": 3}
"""Model arguments for three blocks; further ones would be alike."""
MODELS = ("vit_tiny_patch16_224", "vit_tiny_patch16_dinov3_qkvb", "test_vit3")


def changed(backbone: Backbone) -> Backbone:
    """Set all low-rank weights to random values."""
    for module in backbone.modules():
        if isinstance(module, LowRank):
            torch.nn.init.normal_(module.up_OR, std=0.1)
    return backbone


@pytest.fixture(scope="module", params=MODELS)
def plain(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    backbone = create_backbone(request.param, model_args=THREE).eval()
    for name, parameter in backbone.named_parameters():
        if "gamma" in name:  # the initial layer scale would hide the effect of attention
            torch.nn.init.ones_(parameter)
    return backbone


@pytest.fixture
def images(plain: Backbone) -> Tensor:
    side = plain.model.pretrained_cfg["input_size"][-1] if plain.name == "test_vit3" else 4 * plain.patch
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_it_starts_at_exactly_zero(plain: Backbone, images: Tensor) -> None:
    backbone = copy.deepcopy(plain)
    add_lora(backbone, 4)
    assert torch.equal(backbone(images), plain(images))


@torch.no_grad()
def test_folded_weights_give_the_same_outputs_in_timm(plain: Backbone, images: Tensor) -> None:
    backbone = copy.deepcopy(plain)
    add_lora(backbone, 4)
    changed(backbone)
    state = folded_state(backbone)
    expected = backbone(images)
    assert (expected - plain(images)).abs().max() > 1e-3, "the changes say nothing"
    assert state.keys() == plain.state_dict().keys()
    fresh = create_backbone(plain.name, model_args=THREE).eval()
    fresh.load_state_dict(state)
    torch.testing.assert_close(fresh(images), expected, atol=1e-5, rtol=0)
    ours = {key.removeprefix("model."): value for key, value in state.items()}
    timm.create_model(plain.name, num_classes=0, **THREE).load_state_dict(ours)
    assert torch.equal(backbone(images), expected), "folding has changed the network itself"


def test_every_attention_layer_has_one_and_nothing_else(plain: Backbone) -> None:
    backbone = copy.deepcopy(plain)
    add_lora(backbone, 3)
    layers = attention_linears(backbone)
    assert len(layers) == 2 * len(plain.model.blocks), "qkv and proj"
    new = {name for name, _ in backbone.named_parameters()} - {name for name, _ in plain.named_parameters()}
    assert {name.rpartition(".")[2] for name in new} == {"original", "down_RI", "up_OR"}
    assert len(new) == 3 * len(layers)
    assert all(layer.parametrizations.weight[0].down_RI.shape[0] == 3 for _, layer in layers)  # type: ignore[index,union-attr]


@torch.no_grad()
def test_a_copy_is_an_independent_network(plain: Backbone, images: Tensor) -> None:
    backbone = copy.deepcopy(plain)
    add_lora(backbone, 4)
    other = changed(copy.deepcopy(backbone))
    assert torch.equal(backbone(images), plain(images))
    assert not torch.equal(other(images), plain(images))


def test_a_backbone_without_changes_folds_to_itself() -> None:
    backbone = create_backbone("test_convnext")
    state = folded_state(backbone)
    assert all(state[key].data_ptr() == value.data_ptr() for key, value in backbone.state_dict().items())


def test_a_convnet_has_no_attention() -> None:
    with pytest.raises(UsageError, match="test_convnext has no attention to change"):
        add_lora(create_backbone("test_convnext"), 4)
