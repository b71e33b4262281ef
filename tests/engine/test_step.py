"""The training step against a reference loop; slices, stages and non-finite values."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from dinocli.data.loader import Batch
from dinocli.engine.build import set_stage
from dinocli.engine.distributed import World
from dinocli.engine.step import Learner, mixed_seed, train_step
from dinocli.models.head import DinoNetwork, NetworkOutput
from tests.engine.learners import batch_of, tiny_learner


def state(learner: Learner) -> dict[str, Tensor]:
    """Return all values that a step changes."""
    networks = {"student": learner.student, "teacher": learner.teacher}
    held = {
        f"{part}.{name}": p.detach().clone() for part, net in networks.items() for name, p in net.named_parameters()
    }
    return held | {"center": learner.center_K.clone()}


def run(learner: Learner, steps: int, slices: int = 1, images: int = 4) -> list[Tensor]:
    return [train_step(learner, batch_of(images, slices, seed=step), step) for step in range(steps)]


def spoilt(seen: NetworkOutput, value: str) -> NetworkOutput:
    return seen._replace(logits_VBK=seen.logits_VBK * float(value))


def largest_gap(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[key] - other[key]).abs().max()) for key in one)


def slow_step(learner: Learner, batch: Batch, step: int, memory: dict[Tensor, Tensor]) -> None:
    """Algorithm 1 of the paper with plain SGD, one view, image and parameter at a time."""
    now, student, teacher = learner.schedule.at(step), learner.student, learner.teacher
    (views,) = learner.multicrop(batch.pixels_BCHW, batch.sizes_B2, step=step, start=0, global_batch=4)
    view = views.view(3, 4, *views.shape[1:])
    with torch.no_grad():
        targets = [_scores(teacher, view[g]) for g in range(2)]
    terms = []
    for g in range(2):
        probs = ((targets[g] - learner.center_K) / 0.04).softmax(-1)
        for v in range(3):
            if v != g:
                terms.append(-(probs * (_scores(student, view[v]) / 0.1).log_softmax(-1)).sum(-1).mean())
    student.zero_grad()
    torch.stack(terms).mean().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for group in learner.updater.optimizer.param_groups:
            rate = now.lr if group["part"] == "backbone" else now.head_lr
            decay = now.weight_decay if group["decay"] else 0.0
            for p in group["params"]:
                clipped = p.grad * min(1.0, 3.0 / (float(p.grad.norm()) + 1e-6))
                memory[p] = 0.9 * memory.get(p, torch.zeros_like(p)) + clipped + decay * p
                p -= rate * memory[p]
        for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
            old.copy_(now.momentum * old + (1 - now.momentum) * new)
    learner.center_K = 0.9 * learner.center_K + 0.1 * torch.cat(targets).mean(0)


def _scores(network: DinoNetwork, images: Tensor) -> Tensor:
    return torch.cat([network.head(network.backbone(image[None])) for image in images])


def with_sgd(learner: Learner) -> Learner:
    """Replace AdamW with SGD with momentum, whose updates are proportional to the gradient."""
    kept = ("params", "part", "factor", "decay", "lr", "weight_decay")
    groups = [{key: group[key] for key in kept} for group in learner.updater.optimizer.param_groups]
    learner.updater.optimizer = torch.optim.SGD(groups, lr=0.0, momentum=0.9, fused=True)
    return learner


def test_two_steps_equal_the_slow_loop() -> None:
    settings = ("optim.lr=0.1", "optim.head_lr=0.1")
    fast, slow = with_sgd(tiny_learner(*settings)), tiny_learner(*settings)
    memory: dict[Tensor, Tensor] = {}
    start = state(fast)
    for step in range(2):
        (batch,) = batch_of(4, seed=step)
        train_step(fast, [batch], step)
        slow_step(slow, batch, step, memory)
    assert largest_gap(state(fast), state(slow)) < 1e-6
    assert largest_gap(state(fast), start) > 1e-3


def test_the_first_loss_is_near_ln_k_and_comes_with_its_parts() -> None:
    learner = tiny_learner("dino.teacher_temp=1.0", "dino.warmup_teacher_temp=1.0", "dino.student_temp=1.0")
    loss, entropy, marginal, norm, finite = train_step(learner, batch_of(4), 0).tolist()
    assert loss == pytest.approx(torch.tensor(64.0).log().item(), abs=0.2)
    assert entropy <= marginal <= torch.tensor(64.0).log().item() + 1e-5
    assert norm > 0
    assert finite == 1.0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("slices", [2, 4])
def test_slices_do_not_change_the_result(optimizer: str, slices: int) -> None:
    """AdamW normalises the gradient, which amplifies noise of 1e-8, so only one step is compared."""
    steps, rate = (2, 1e-2) if optimizer == "sgd" else (1, 1e-5)
    settings = (f"optim.lr={rate}", f"optim.head_lr={rate}", "views.global_size=48")
    whole, sliced = tiny_learner(*settings), tiny_learner(*settings)
    if optimizer == "sgd":
        whole, sliced = with_sgd(whole), with_sgd(sliced)
    start = state(whole)
    stats, other = run(whole, steps), run(sliced, steps, slices)
    assert largest_gap(state(whole), state(sliced)) < 1e-6
    assert largest_gap(state(whole), start) > 1e-5
    for one, two in zip(stats, other, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_the_centre_of_the_previous_step_is_used_and_updated_once() -> None:
    whole, sliced = tiny_learner(), tiny_learner()
    assert not whole.center_K.any()
    run(whole, 1)
    run(sliced, 1, slices=4)
    assert whole.center_K.any()
    torch.testing.assert_close(whole.center_K, sliced.center_K, atol=1e-6, rtol=0)


def test_a_frozen_backbone_does_not_change_while_the_head_trains() -> None:
    learner = tiny_learner("optim.head_warmup=0.5")
    start = state(learner)
    run(learner, 2)
    for key, value in state(learner).items():
        assert torch.equal(value, start[key]) == ("backbone" in key), key
    set_stage(learner, backbone_learns=True)
    train_step(learner, batch_of(4), 5)
    assert all(not torch.equal(value, start[key]) for key, value in state(learner).items())


def test_frozen_prototypes_stand_still_in_both_networks() -> None:
    learner = tiny_learner("optim.freeze_last_layer=0.2")
    start = state(learner)
    for step, stays in ((0, True), (1, True), (2, False)):
        train_step(learner, batch_of(4, seed=step), step)
        for part in ("student", "teacher"):
            key = f"{part}.head.prototypes.direction"
            assert torch.equal(state(learner)[key], start[key]) is stays


@pytest.mark.parametrize("slices", [1, 2])
def test_a_non_finite_step_leaves_student_teacher_and_centre(slices: int) -> None:
    learner = tiny_learner()
    run(learner, 1)
    start = state(learner)
    handle = learner.student.register_forward_hook(
        lambda _, __, seen: seen._replace(logits_VBK=seen.logits_VBK * float("inf"))
    )
    stats = train_step(learner, batch_of(4, slices, seed=9), 1)
    handle.remove()
    after = state(learner)
    assert stats[4] == 0.0
    assert all(torch.equal(after[key], start[key]) for key in start if not key.startswith("teacher"))
    assert all(torch.isfinite(value).all() for value in after.values())
    assert train_step(learner, batch_of(4, seed=9), 2)[4] == 1.0


def test_a_non_finite_teacher_does_not_reach_the_centre() -> None:
    learner = tiny_learner()
    run(learner, 1)
    before = learner.center_K.clone()
    handle = learner.teacher.register_forward_hook(lambda _, __, seen: spoilt(seen, "nan"))
    train_step(learner, batch_of(4), 1)
    handle.remove()
    assert torch.equal(learner.center_K, before)


def test_the_teacher_sees_the_global_views_alone() -> None:
    learner = tiny_learner("views.local_count=3")
    seen: list[Sequence[int]] = []
    learner.teacher.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].shape))
    train_step(learner, batch_of(4), 0)
    assert seen == [(8, 3, 32, 32)]


def depth_loss(step: int, *, seed: int = 0, rank: int = 0, noise: int = 0) -> float:
    """Return the loss of fixed views with stochastic depth: only the dropped paths can change it."""
    torch.manual_seed(noise)
    learner = tiny_learner("model.drop_path=0.5")
    for name, parameter in learner.student.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(
                1.0
            )  # with the initial 1e-6 a dropped path would change the loss by less than rounding
    torch.rand(noise + 1)
    learner.seed, learner.world = seed, World(rank)
    views = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    learner.multicrop = lambda *_, **__: [views]  # type: ignore[assignment]
    learner.multicrop.count = 3
    return float(train_step(learner, batch_of(4), step)[0])


def test_stochastic_depth_is_a_function_of_seed_step_and_process_alone() -> None:
    first = depth_loss(3)
    assert depth_loss(3, noise=1) == first
    assert first not in (depth_loss(4), depth_loss(3, seed=5), depth_loss(3, rank=1))


def test_a_step_leaves_the_global_generator_alone() -> None:
    learner = tiny_learner("model.drop_path=0.5")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train_step(learner, batch_of(4), 0)
    assert torch.equal(torch.rand(3), expected)


def test_seeds_of_neighbours_differ() -> None:
    seeds = {
        mixed_seed(seed, step, part, rank)
        for seed in range(3)
        for step in range(5)
        for part in (0, 1)
        for rank in (0, 1)
    }
    assert len(seeds) == 60
    assert all(0 <= seed < 2**63 for seed in seeds)
