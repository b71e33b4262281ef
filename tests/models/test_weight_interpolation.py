"""Weight interpolation between two networks, per tensor."""

import copy

import pytest
import torch

from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.models.weight_interpolation import interpolated


@pytest.fixture(scope="module")
def pair() -> tuple[Backbone, Backbone]:
    torch.manual_seed(0)
    start = create_backbone("test_resnet")
    adapted = copy.deepcopy(start)
    with torch.no_grad():
        for parameter in adapted.parameters():
            parameter.add_(torch.randn_like(parameter))
    adapted(torch.randn(4, 3, 64, 64))  # changes the statistics and counters of batch norm
    return start, adapted


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_every_tensor_lies_between(pair: tuple[Backbone, Backbone], alpha: float) -> None:
    start, adapted = pair
    before = [copy.deepcopy(network.state_dict()) for network in pair]
    mixed = interpolated(start, adapted, alpha).state_dict()
    for name, tensor in mixed.items():
        one, other = start.state_dict()[name], adapted.state_dict()[name]
        expected = (1 - alpha) * one + alpha * other if tensor.is_floating_point() else other
        torch.testing.assert_close(tensor, expected, atol=1e-6, rtol=1e-5)
    for network, state in zip(pair, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_factors_0_and_1_give_the_networks_themselves(pair: tuple[Backbone, Backbone]) -> None:
    for alpha, network in zip((0.0, 1.0), pair, strict=True):
        mixed = interpolated(*pair, alpha)
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in mixed.named_parameters())
