"""Folding changes neither outputs nor trainable parameters."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.models.folding import find_pairs, folded


def used(name: str) -> Backbone:
    """Build a network in double precision with non-trivial batch norm statistics."""
    torch.manual_seed(0)
    backbone = create_backbone(name).double()
    for norm in (module for module in backbone.modules() if isinstance(module, _BatchNorm)):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
    return backbone


def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def gradients(backbone: Backbone) -> dict[str, Tensor]:
    backbone(images()).square().sum().backward()
    return {name: weight.grad for name, weight in backbone.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(
    ("name", "count"),
    [("test_efficientnet", 13), ("test_resnet", 15), ("test_convnext", 0)],
    ids=["every norm", "with shortcuts", "no batch norm"],
)
def test_features_and_every_gradient_are_those_of_the_plain_network(name: str, count: int) -> None:
    plain = used(name)
    folding = copy.deepcopy(plain)
    folding.freeze_batch_norm()
    assert len(folding._folds) == count == sum(isinstance(module, _BatchNorm) for module in plain.modules())
    plain.eval()
    folding.eval()
    torch.testing.assert_close(folding(images()), plain(images()), rtol=1e-12, atol=1e-12)
    expected, found = gradients(plain), gradients(folding)
    assert expected.keys() == found.keys()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_no_batch_norm_runs_where_all_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = used("test_efficientnet")
    backbone.freeze_batch_norm()
    monkeypatch.setattr(torch, "batch_norm", lambda *_: pytest.fail("a batch norm ran"))
    backbone(images())


def test_a_copy_folds_separate_weights() -> None:
    backbone = used("test_resnet")
    backbone.freeze_batch_norm()
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    apart = used("test_resnet").eval()
    apart.load_state_dict(other.state_dict())
    torch.testing.assert_close(other(images()), apart(images()), rtol=1e-12, atol=1e-12)


def test_gradient_checkpointing_is_left_alone() -> None:
    backbone = used("test_resnet")
    backbone.freeze_batch_norm()
    expected = gradients(backbone)
    backbone.zero_grad()
    backbone.set_grad_checkpointing(True)
    torch.testing.assert_close(gradients(backbone), expected, rtol=1e-9, atol=1e-12)


def test_a_convolution_with_other_consumers_is_not_folded() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            z: Tensor = self.norm(y) + y
            return z

    torch.manual_seed(0)
    model = Branching().eval()
    model.norm.bias.data.fill_(1.0)
    assert find_pairs(model, model, torch.randn(1, 3, 8, 8)) == []


def test_folding_keeps_a_bias_and_does_without_scale_and_shift() -> None:
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, affine=False, eps=0.0)
    conv.weight.data.fill_(3.0)
    assert conv.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.bias.data.fill_(5.0)
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    weight, bias = folded(conv.weight, conv.bias, norm)
    assert (weight.item(), bias.item()) == (1.5, 2.0)


def test_the_names_of_the_weights_stay() -> None:
    backbone = create_backbone("test_resnet")
    backbone.freeze_batch_norm()
    assert backbone.model.state_dict().keys() == timm.create_model("test_resnet", num_classes=0).state_dict().keys()
