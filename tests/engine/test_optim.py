"""Parameter groups, gradient clipping and skipped steps."""

import copy

import pytest
import torch
from torch import Tensor, nn

from dinocli.engine.optim import Updater, decays, make_optimizer, parameter_groups
from dinocli.engine.step_schedule import StepValues
from dinocli.models.create import create_backbone
from dinocli.models.head import DinoHead, DinoNetwork

NOW = StepValues(0.1, 0.2, 0.5, 0.1, 0.04, 0.9, backbone_learns=True, prototypes_learn=True)
FROZEN = StepValues(0.1, 0.2, 0.5, 0.1, 0.04, 0.9, backbone_learns=True, prototypes_learn=False)


@pytest.fixture(scope="module")
def original() -> DinoNetwork:
    torch.manual_seed(0)
    backbone = create_backbone("test_convnext")
    head = DinoHead(backbone.dim, out_dim=12, hidden_dim=8, bottleneck_dim=6, batch_norm=False, norm_last_layer=False)
    return DinoNetwork(backbone, head)


@pytest.fixture
def network(original: DinoNetwork) -> DinoNetwork:
    return copy.deepcopy(original)


def factors_of(network: DinoNetwork) -> dict[str, float]:
    return {name: 1.0 for name, _ in network.backbone.named_parameters()}


def updater(network: DinoNetwork, clip: float = 3.0, clip_mode: str = "parameter") -> Updater:
    return Updater(network, make_optimizer(network, factors_of(network)), clip=clip, clip_mode=clip_mode)


def fill_grads(network: DinoNetwork, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale


def weights(network: DinoNetwork) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def grad(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def test_decay_spares_the_biases_of_windows() -> None:
    small = {"embed_dim": 24, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 4)}
    backbone = create_backbone("swin_tiny_patch4_window7_224", model_args=small)
    tables = [name for name, _ in backbone.named_parameters() if "relative_position_bias" in name]
    assert tables
    assert not any(decays(name, backbone.get_parameter(name)) for name in tables)


@pytest.mark.parametrize("model", ["test_convnext", "test_resnet", "vit_tiny_patch16_224", "test_vit3"])
def test_decay_spares_biases_norms_tokens_and_positions(model: str) -> None:
    net = DinoNetwork(
        create_backbone(model),
        DinoHead(8, out_dim=12, hidden_dim=8, bottleneck_dim=6, batch_norm=True, norm_last_layer=False),
    )
    named = dict(net.named_parameters())
    decayed = {name for name, parameter in named.items() if decays(name, parameter)}
    spared = named.keys() - decayed
    norms = {
        f"{prefix}.{name}"
        for prefix, module in net.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if "norm" in type(module).__name__.lower()
    }
    assert norms
    assert norms <= spared
    assert all(name in spared for name in named if name.endswith(".bias"))
    assert all(named[name].ndim > 1 for name in decayed)
    assert {"head.prototypes.direction", "head.mlp.0.weight"} <= decayed
    assert "head.prototypes.length" in spared
    if "vit" in model:
        assert "backbone.model.pos_embed" in spared
        assert "backbone.model.patch_embed.proj.weight" in decayed
    if model.startswith("vit_tiny"):
        assert "backbone.model.cls_token" in spared


def test_groups_hold_every_parameter_once(network: DinoNetwork) -> None:
    groups = parameter_groups(network, factors_of(network))
    held = [parameter for group in groups for parameter in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, network.parameters()))
    assert [(group["part"], group["decay"]) for group in groups] == [
        ("backbone", True),
        ("backbone", False),
        ("head", True),
        ("head", False),
    ]


def test_factors_part_the_groups_and_what_has_none_is_in_no_group(network: DinoNetwork) -> None:
    factors = {name: 0.5 if ".stem." in name else 1.0 for name in factors_of(network) if ".stages.0" not in name}
    update = Updater(network, make_optimizer(network, factors), clip=0.0, clip_mode="parameter")
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    update.prepare(NOW)
    seen = set()
    for group in update.optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.add(name)
            head = name.startswith("head.")
            assert group["lr"] == (0.2 if head else 0.05 if ".stem." in name else 0.1)
            assert group["decay"] == decays(name, parameter)
    assert names.keys() == {id(parameter) for parameter in network.parameters()}
    assert {name for name in names.values() if ".stages.0" in name} == set(names.values()) - seen


def test_prepare_sets_rates_and_decay_and_clears_gradients(network: DinoNetwork) -> None:
    fill_grads(network)
    update = updater(network)
    update.prepare(NOW)
    assert all(parameter.grad is None for parameter in network.parameters())
    for group in update.optimizer.param_groups:
        assert group["lr"] == (0.1 if group["part"] == "backbone" else 0.2)
        assert group["weight_decay"] == (0.5 if group["decay"] else 0.0)


def test_parameter_clip_equals_the_slow_loop(network: DinoNetwork) -> None:
    fill_grads(network)
    raw = {name: grad(parameter).clone() for name, parameter in network.named_parameters()}
    total, _ = updater(network, clip=3.0).step(NOW)
    clipped = 0
    for name, parameter in network.named_parameters():
        norm = float(raw[name].double().square().sum().sqrt())
        factor = min(1.0, 3.0 / (norm + 1e-6))
        clipped += factor < 1
        torch.testing.assert_close(grad(parameter), raw[name] * factor, atol=1e-6, rtol=1e-6)
    assert 0 < clipped < len(raw), "some are clipped, some are not"
    expected = sum(float(value.double().square().sum()) for value in raw.values()) ** 0.5
    assert total.item() == pytest.approx(expected, rel=1e-6), "the norm is the one before clipping"


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_global_clip_equals_the_slow_loop(network: DinoNetwork, scale: float) -> None:
    fill_grads(network, scale)
    raw = {name: grad(parameter).clone() for name, parameter in network.named_parameters()}
    updater(network, clip=3.0, clip_mode="global").step(NOW)
    total = sum(float(value.double().square().sum()) for value in raw.values()) ** 0.5
    factor = min(1.0, 3.0 / (total + 1e-6))
    assert (factor == 1.0) == (scale < 1)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(grad(parameter), raw[name] * factor, atol=1e-6, rtol=1e-5)


def test_clip_zero_is_off(network: DinoNetwork) -> None:
    fill_grads(network, 100.0)
    raw = [grad(parameter).clone() for parameter in network.parameters()]
    updater(network, clip=0.0).step(NOW)
    assert all(torch.equal(a, grad(b)) for a, b in zip(raw, network.parameters(), strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("before", [0, 2], ids=["first step", "third step"])
def test_a_non_finite_gradient_changes_nothing(network: DinoNetwork, before: int, bad: float) -> None:
    """It changes neither the weights nor, through the state of the optimizer, the next step."""
    skipping, reference = updater(network), copy.deepcopy(network)
    plain = updater(reference)
    for _ in range(before):
        for update in (skipping, plain):
            update.prepare(NOW)
            fill_grads(update.network)
            update.step(NOW)
    start = weights(network)
    skipping.prepare(NOW)
    fill_grads(network)
    grad(network.head.prototypes.direction)[0, 0] = bad
    norm, finite = skipping.step(NOW)
    assert not bool(finite)
    assert not torch.isfinite(norm)
    assert all(torch.equal(start[key], value) for key, value in weights(network).items())
    for update in (skipping, plain):
        update.prepare(NOW)
        fill_grads(update.network)
        _, finite = update.step(NOW)
        assert bool(finite)
    assert all(torch.equal(value, weights(reference)[key]) for key, value in weights(network).items())
    assert not torch.equal(start["head.prototypes.direction"], network.head.prototypes.direction)


def test_frozen_prototypes_stand_still_then_thaw(network: DinoNetwork) -> None:
    update = updater(network)
    for now in (FROZEN, FROZEN, NOW):
        before = weights(network)
        update.prepare(now)
        fill_grads(network)
        update.step(now)
        for key, value in weights(network).items():
            stays = not now.prototypes_learn and "prototypes" in key
            assert torch.equal(before[key], value) == stays, key


def test_adamw_equals_the_slow_loop(network: DinoNetwork) -> None:
    """Kingma and Ba with decoupled decay (Loshchilov and Hutter 2019), betas 0.9 and 0.999, epsilon 1e-8."""
    update, expected = updater(network, clip=0.0), {key: value.double() for key, value in weights(network).items()}
    first, second = ({key: torch.zeros_like(value) for key, value in expected.items()} for _ in range(2))
    keys = {parameter: key for key, parameter in network.named_parameters()}
    for count, scale in enumerate((1e-2, 2e-2, 3e-2), 1):
        update.prepare(NOW)
        fill_grads(network, scale)
        for group in update.optimizer.param_groups:
            for parameter in group["params"]:
                key, slope = keys[parameter], grad(parameter).double()
                first[key] = 0.9 * first[key] + 0.1 * slope
                second[key] = 0.999 * second[key] + 0.001 * slope.square()
                step = first[key] / (1 - 0.9**count) / ((second[key] / (1 - 0.999**count)).sqrt() + 1e-8)
                expected[key] = expected[key] * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * step
        update.step(NOW)
    for key, value in weights(network).items():
        torch.testing.assert_close(value.double(), expected[key], atol=1e-5, rtol=1e-5)
