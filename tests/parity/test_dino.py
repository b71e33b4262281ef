"""facebookresearch/dino beside ours on the same tensors: backbone, attention, head, loss, centre, schedules, clip."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dinocli.dino.center import batch_sum, updated_center
from dinocli.dino.loss import dino_loss, teacher_probs
from dinocli.dino.schedules import cosine, linear, warmup_cosine
from dinocli.dino.teacher import update_teacher
from dinocli.engine.optim import Updater
from dinocli.engine.step_schedule import StepSchedule
from dinocli.models.attention import attend
from dinocli.models.head import DinoHead
from dinocli.models.weights import load_backbone
from tests.engine.learners import tiny_learner, tiny_recipe

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the public code, which is older than our torch
]
Near = Callable[..., None]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shaken(model: Any) -> Any:
    """Give every tensor values that tell one formula from another: biases and scales come as zeros and ones."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def full(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """A training checkpoint of main_dino.py: DDP's student, the teacher beside it, arguments, the loss."""
    other = {name: value + 1 for name, value in tensors.items()}
    return {
        "student": prefixed("module.backbone.", other),
        "teacher": prefixed("backbone.", tensors),
        "epoch": 1,
        "args": Namespace(arch="vit_tiny"),
        "dino_loss": {"center": torch.zeros(1, 4)},
    }


KINDS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "backbone": dict,
    "training checkpoint": full,
    "student alone": lambda tensors: {"student": prefixed("module.backbone.", tensors)},
    "distributed, compiled": lambda tensors: prefixed("module._orig_mod.", tensors),
    "Lightning": lambda tensors: {"state_dict": prefixed("teacher_backbone.", tensors), "epoch": 3},
}


@pytest.mark.parametrize(("kind", "patch"), [*((kind, 16) for kind in KINDS), ("backbone", 8)])
def test_features(dino: SimpleNamespace, near: Near, tmp_path: Path, kind: str, patch: int) -> None:
    """At the native size, at that of local views, and of a picture that is not square."""
    theirs = shaken(dino.vision_transformer.vit_tiny(patch_size=patch))
    torch.save(KINDS[kind](theirs.state_dict()), tmp_path / "a.pth")
    ours, info, _ = load_backbone(str(tmp_path / "a.pth"))
    assert (info.matched, info.total) == (len(theirs.state_dict()),) * 2
    with torch.no_grad():
        for height, width in ((224, 224), (96, 96), (64, 112)):
            x = draw(1, 3, height, width)
            tokens = theirs.get_intermediate_layers(x, 1)[0]
            near(theirs(x), ours.eval()(x), 1e-4, "class token")
            grid = tokens[:, 1:].transpose(1, 2).reshape(1, -1, height // patch, width // patch)
            near(grid, ours.patch_tokens(x), 1e-4, "patches")


def test_the_last_blocks(dino: SimpleNamespace, near: Near, tmp_path: Path) -> None:
    theirs = shaken(dino.vision_transformer.vit_tiny())
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    ours = load_backbone(str(tmp_path / "a.pth"))[0].eval()
    x = draw(1, 3, 96, 96)
    with torch.no_grad():
        for one, other in zip(theirs.get_intermediate_layers(x, 4), ours.last_features(x, 4), strict=True):
            near(one, other, 1e-4)


def test_attention(dino: SimpleNamespace, near: Near, tmp_path: Path) -> None:
    theirs = shaken(dino.vision_transformer.vit_tiny())
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    ours = load_backbone(str(tmp_path / "a.pth"))[0].eval()
    x = draw(1, 3, 160, 96)
    with torch.no_grad():
        attention = theirs.get_last_selfattention(x)
        near(attention, attend(ours, x)[0].weights(range(attention.shape[-1])), 1e-5)


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_head(dino: SimpleNamespace, near: Near, normed: bool, batch_norm: bool) -> None:
    theirs = shaken(
        dino.vision_transformer.DINOHead(
            48, 96, use_bn=batch_norm, norm_last_layer=normed, hidden_dim=64, bottleneck_dim=32
        )
    )
    if normed:  # the public code never moves it
        theirs.last_layer.weight_g.data.fill_(1)
    ours = DinoHead(48, out_dim=96, hidden_dim=64, bottleneck_dim=32, batch_norm=batch_norm, norm_last_layer=normed)
    ours.eval()
    ours.load_state_dict(head_state(theirs, normed))
    with torch.no_grad():
        near(theirs(draw(10, 48)), ours(draw(10, 48)), 1e-5)


def head_state(theirs: Any, normed: bool) -> dict[str, Tensor]:
    """Weights of the public head under our names."""
    state = {f"mlp.{name}": value for name, value in theirs.mlp.state_dict().items()}
    state["prototypes.direction"] = theirs.last_layer.weight_v.detach()
    return state if normed else state | {"prototypes.length": theirs.last_layer.weight_g.detach()}


@pytest.mark.parametrize("local", [0, 8])
def test_loss_and_centre(dino: SimpleNamespace, near: Near, local: int) -> None:
    views, images, prototypes = 2 + local, 6, 50
    public = dino.main_dino.DINOLoss(prototypes, views, 0.04, 0.07, 2, 4)
    center_K = torch.zeros(prototypes)
    for epoch in range(3):
        student, teacher = (3 * draw(count * images, prototypes, seed=9 + epoch) for count in (views, 2))
        student.requires_grad_()
        ours = student.detach().clone().requires_grad_()
        loss = public(student, teacher, epoch)
        loss.backward()
        temp = float(public.teacher_temp_schedule[epoch])
        probs = teacher_probs(teacher.view(2, images, prototypes), center_K, temp)
        mine = dino_loss(ours.view(views, images, prototypes), probs, 0.1)
        mine.backward()  # type: ignore[no-untyped-call]
        center_K = updated_center(center_K, batch_sum(teacher.view(2, images, prototypes)), 2 * images, 0.9)
        near(loss, mine, 1e-4, "loss, nats")
        near(student.grad, ours.grad, 5e-6, "gradient")
        near(public.center[0], center_K, 1e-6, "centre")


def test_schedules(dino: SimpleNamespace, near: Near) -> None:
    epochs, each = 10, 7
    steps = range(epochs * each)
    decay = dino.utils.cosine_scheduler(0.04, 0.4, epochs, each)
    near(decay, [cosine(step, 70, 0.04, 0.4) for step in steps], 1e-9, "weight decay, momentum")
    rate = dino.utils.cosine_scheduler(5e-4, 1e-6, epochs, each, warmup_epochs=2)
    mine = [warmup_cosine(step, begin=0, warmup=14, steps=70, peak=5e-4, end=1e-6) for step in steps]
    near(rate[14:], mine[14:], 1e-9, "learning rate after its warm-up")
    near(rate[:14], mine[:14], 5e-4 / 13, "learning rate in its warm-up: ours begins one step of it higher")
    temps = dino.main_dino.DINOLoss(8, 2, 0.04, 0.07, 3, 10).teacher_temp_schedule
    ours = [linear(epoch, 2, 0.04, 0.07) for epoch in range(10)]
    near(temps, ours, 1e-9, "teacher temperature, at the same lengths")


def test_average_of_the_student(near: Near) -> None:
    """The public code has it inside its loop: param_k.data.mul_(m).add_((1 - m) * param_q)."""
    teacher, student = draw(5, 4), draw(5, 4, seed=1)
    expected = teacher * 0.996 + (1 - 0.996) * student
    mine = torch.nn.Parameter(teacher.clone())
    update_teacher([mine], [torch.nn.Parameter(student)], 0.996)
    near(expected, mine, 1e-6)


def test_clipping(dino: SimpleNamespace, near: Near) -> None:
    learner = tiny_learner("optim.lr=0", "optim.head_lr=0")
    network = learner.student
    for place, parameter in enumerate(network.parameters()):
        parameter.grad = 2 * draw(*parameter.shape, seed=place)
    before = gradients(network)
    dino.utils.clip_gradients(network, 3.0)
    theirs = gradients(network)
    for name, parameter in network.named_parameters():
        parameter.grad = before[name].clone()
    updater = Updater(network, learner.updater.optimizer, clip=3.0, clip_mode="parameter")
    updater.step(StepSchedule(tiny_recipe()).at(9))
    for name, gradient in gradients(network).items():
        near(theirs[name], gradient, 1e-6)
    assert any(not torch.equal(theirs[name], before[name]) for name in before)


def gradients(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
