"""The last block for the class token only, against the whole block."""

import copy

import pytest
import torch
from torch import Tensor, nn

from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.models.head import trained_feature

NAMES = ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3_qkvb"]


def backbone_of(name: str) -> Backbone:
    torch.manual_seed(0)
    backbone = create_backbone(name, drop_path=0.2, model_args={"depth": 2, "embed_dim": 96, "num_heads": 3})
    with torch.no_grad():  # initial scales and biases are too small to distinguish formulas
        for parameter in backbone.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    backbone.set_pool("cls")
    return backbone


def tokens_in_last_mlp(backbone: Backbone) -> list[int]:
    seen: list[int] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].shape[1])

    backbone.model.blocks[-1].mlp.register_forward_pre_hook(look)
    return seen


def gradients(backbone: Backbone, pooled_BD: Tensor) -> dict[str, Tensor]:
    backbone.zero_grad()
    (pooled_BD * torch.arange(pooled_BD.shape[1])).mean().backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad for name, parameter in backbone.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_feature_and_gradients_are_those_of_the_whole_block(name: str) -> None:
    backbone = backbone_of(name).train()
    seen = tokens_in_last_mlp(backbone)
    x_BCHW = torch.randn(4, 3, 2 * backbone.patch, 3 * backbone.patch)
    torch.manual_seed(1)  # of stochastic depth
    short = trained_feature(backbone, x_BCHW)
    torch.manual_seed(1)
    whole, _ = backbone.with_patches(x_BCHW)
    assert seen == [1, 6 + backbone.model.num_prefix_tokens]
    torch.testing.assert_close(short, whole)
    found, expected = gradients(backbone, short), gradients(backbone, whole)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, msg=key, rtol=1e-4, atol=1e-4)


def test_other_outputs_get_every_token() -> None:
    backbone = backbone_of(NAMES[0]).eval()
    seen, x_BCHW = tokens_in_last_mlp(backbone), torch.randn(1, 3, 32, 32)
    with pytest.raises(RuntimeError):
        trained_feature(backbone, torch.randn(1, 4, 32, 32))
    backbone.patch_tokens(x_BCHW)
    backbone(x_BCHW)
    backbone.set_pool("mean")
    trained_feature(backbone, x_BCHW)
    backbone.set_pool("cls")
    backbone.set_grad_checkpointing(True)
    trained_feature(backbone, x_BCHW)
    assert seen == [5] * 4
    backbone.set_grad_checkpointing(False)
    twin = copy.deepcopy(backbone)
    assert torch.equal(trained_feature(twin, x_BCHW), trained_feature(backbone, x_BCHW))
    assert twin.after_attention[1] is twin.model.blocks[-1].norm2
    assert seen[4:] == [1, 1], "the copy shares the list that its hook fills"


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "test_resnet", "xcit_nano_12_p16_224"])
def test_architectures_of_another_form_are_left_as_they_are(name: str) -> None:
    backbone = create_backbone(name, model_args={"depth": 1} if name.startswith("beit") else {})
    assert backbone.after_attention == []
