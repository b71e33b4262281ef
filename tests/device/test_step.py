"""A whole training step on a device: the figures of the CPU, and a host that never waits."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dinocli.engine.build import build_learner
from dinocli.engine.distributed import World
from dinocli.engine.precision import Precision
from dinocli.engine.step import Learner, train_step
from dinocli.models.create import create_backbone
from tests.device.pretend import DeviceTensor, PretendDevice
from tests.engine.learners import PREPROCESS, batch_of, tiny_recipe
from tests.networks import TWO_BLOCKS

SETTINGS = (f"model.name={TWO_BLOCKS}", "model.drop_path=0", "views.global_size=32", "views.local_size=16")
EVERYTHING = ("loss.koleo=0.1", "loss.gram_anchor=0.1", "loss.feature_anchor=0.1")


def learner_on(device: torch.device, *settings: str, precision: str = "fp32") -> Learner:
    recipe = tiny_recipe(*SETTINGS, *settings)
    torch.manual_seed(1)
    backbone = create_backbone(recipe.model.name, drop_path=recipe.model.drop_path).to(device)
    torch.manual_seed(1)
    return build_learner(recipe, backbone, PREPROCESS, Precision(device, precision, "fused"), World())


def steps(learner: Learner, count: int, device: torch.device, slices: int = 1) -> list[Tensor]:
    found = []
    for step in range(count):
        batch = [replace(part, pixels_BCHW=part.pixels_BCHW.to(device)) for part in batch_of(4, slices, seed=step)]
        found.append(train_step(learner, batch, step))
    return found


def held(values: Tensor) -> Tensor:
    return values.held if isinstance(values, DeviceTensor) else values


@pytest.mark.parametrize("clip", ["parameter", pytest.param("global", marks=pytest.mark.slow)])
def test_a_step_is_that_of_the_cpu(pretend: PretendDevice, clip: str) -> None:
    """One step, and its clipped gradients: AdamW hardly depends on their size, and turns noise into steps."""
    settings = (*EVERYTHING, f"optim.clip_mode={clip}", "optim.clip_grad=0.01")
    cpu, there = learner_on(torch.device("cpu"), *settings), learner_on(pretend.device, *settings)
    (wanted,), (found,) = steps(cpu, 1, torch.device("cpu")), steps(there, 1, pretend.device)
    torch.testing.assert_close(held(found), wanted, atol=2e-4, rtol=1e-4)
    pairs = [*zip(cpu.student.parameters(), there.student.parameters(), strict=True)]
    grads = [(one.grad, held(other.grad)) for one, other in pairs if one.grad is not None and other.grad is not None]
    assert len(grads) > 20
    norms = torch.stack([one.norm() for one, _ in grads if one is not None])
    assert float(norms.max() if clip == "parameter" else norms.norm()) == pytest.approx(0.01, rel=0.01)
    for one, other in grads:
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nothing_in_a_step_waits_for_the_device(pretend: PretendDevice, precision: str) -> None:
    learner = learner_on(pretend.device, *EVERYTHING, precision=precision)
    batches = [batch_of(4, seed=seed) for seed in range(2)]
    there = [[replace(part, pixels_BCHW=part.pixels_BCHW.to(pretend.device)) for part in batch] for batch in batches]
    train_step(learner, there[0], 0)
    pretend.forget()
    stats = train_step(learner, there[1], 1)
    assert sum(pretend.copies.values()) == 2, pretend.copies  # the views' parameters; which images KoLeo compares
    assert not pretend.waits, pretend.waits
    assert pretend.kernels["_foreach_mul_"] == 1, "the gradients are clipped together"
    assert held(stats)[4] == 1


def test_the_kernels_of_a_step_do_not_grow_with_the_batch(pretend: PretendDevice) -> None:
    learner, counts = learner_on(pretend.device), []
    for images in (4, 32):
        learner.batch_size = images
        batch = [replace(part, pixels_BCHW=part.pixels_BCHW.to(pretend.device)) for part in batch_of(images)]
        train_step(learner, batch, 0)
        pretend.forget()
        train_step(learner, batch, 1)
        counts.append(sum(pretend.kernels.values()))
    assert counts[0] == counts[1] > 100
