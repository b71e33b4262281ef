"""The head against plain formulas: V views, B images, D width, K prototypes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinocli.models.create import create_backbone
from dinocli.models.head import DinoHead, DinoNetwork, Prototypes


def head(*, batch_norm: bool = False, norm_last_layer: bool = True) -> DinoHead:
    torch.manual_seed(0)
    return DinoHead(
        6, out_dim=12, hidden_dim=16, bottleneck_dim=5, batch_norm=batch_norm, norm_last_layer=norm_last_layer
    )


def features(count: int = 7, width: int = 6) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(1))


def test_head_equals_the_formula() -> None:
    net, x = head(), features()
    first, second, third = (layer for layer in net.mlp if isinstance(layer, nn.Linear))
    h = F.gelu(x @ first.weight.T + first.bias)
    h = F.gelu(h @ second.weight.T + second.bias) @ third.weight.T + third.bias
    directions = net.prototypes.direction
    cosines = torch.stack([
        torch.stack([torch.dot(row, w) / (row.norm() * w.norm()) for w in directions]) for row in h
    ])  # fmt: skip
    torch.testing.assert_close(net(x), cosines, atol=1e-6, rtol=0)


def test_scores_are_cosines_when_the_last_layer_is_normed() -> None:
    scores = head()(features() * 50)
    assert scores.shape == (7, 12)
    assert scores.abs().max() <= 1 + 1e-6


def test_norms_of_prototypes_matter_only_if_not_normalised() -> None:
    x = F.normalize(features(width=5), dim=-1)
    normed, free = Prototypes(5, 12, normed=True), Prototypes(5, 12, normed=False)
    free.load_state_dict({"direction": normed.direction, "length": torch.ones(12, 1)})
    torch.testing.assert_close(normed(x), free(x))
    before = free(x)
    with torch.no_grad():
        normed.direction.mul_(3.0)
        assert free.length is not None
        free.length.mul_(3.0)
    torch.testing.assert_close(normed(x) * 3, free(x))
    torch.testing.assert_close(free(x), before * 3)
    assert [name for name, _ in normed.named_parameters()] == ["direction"]


def test_free_lengths_learn() -> None:
    net = head(norm_last_layer=False)
    net(features()).square().sum().backward()
    length = net.prototypes.length
    assert length is not None
    assert length.grad is not None
    assert length.grad.abs().min() > 0


@pytest.mark.parametrize("batch_norm", [False, True])
def test_batch_norm_stands_before_each_gelu_or_nowhere(batch_norm: bool) -> None:
    kinds = [type(layer) for layer in head(batch_norm=batch_norm).mlp]
    between = [nn.BatchNorm1d] if batch_norm else []
    assert kinds == [nn.Linear, *between, nn.GELU, nn.Linear, *between, nn.GELU, nn.Linear]


def test_first_weights_are_the_papers() -> None:
    net = DinoHead(64, out_dim=256, hidden_dim=128, bottleneck_dim=64, batch_norm=False, norm_last_layer=True)
    for layer in net.mlp:
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert not layer.bias.any()


@pytest.mark.parametrize("width", [64, 256])
def test_prototypes_are_initialised_as_in_the_public_code(width: int) -> None:
    """`weight_norm(nn.Linear(width, K, bias=False))` is built after the others were initialised: U(+-1/sqrt(width))."""
    torch.manual_seed(0)
    rows, public = Prototypes(width, 512, normed=True).direction, nn.Linear(width, 512, bias=False).weight
    assert rows.norm(dim=1).mean().item() == pytest.approx(0.577, rel=0.01)
    assert rows.std().item() == pytest.approx(public.std().item(), rel=0.01)
    assert rows.abs().max().item() == pytest.approx(width**-0.5, rel=0.01)


def test_network_is_view_major_whatever_the_resolutions() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("test_convnext").eval()
    net = DinoNetwork(
        backbone,
        DinoHead(backbone.dim, out_dim=8, hidden_dim=8, bottleneck_dim=4, batch_norm=False, norm_last_layer=True),
    )
    images = 3
    views = [torch.randn(images, 3, size, size) for size in (64, 64, 32, 32)]
    scores = net([torch.cat(views[:2]), torch.cat(views[2:])], 4).logits_VBK
    assert scores.shape == (4, images, 8)
    for view, own in zip(views, scores, strict=True):
        for image, row in zip(view, own, strict=True):
            torch.testing.assert_close(net.head(backbone(image[None]))[0], row, atol=1e-5, rtol=0)


def test_a_frozen_backbone_gives_features_without_gradient() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("test_convnext")
    net = DinoNetwork(
        backbone,
        DinoHead(backbone.dim, out_dim=8, hidden_dim=8, bottleneck_dim=4, batch_norm=False, norm_last_layer=True),
    )
    for learns in (False, True):
        net.zero_grad()
        net.backbone_learns = learns
        net([torch.randn(2, 3, 32, 32)], 1).logits_VBK.square().sum().backward()
        assert all((parameter.grad is not None) == learns for parameter in backbone.parameters())
        assert all(parameter.grad is not None for parameter in net.head.parameters())
