"""200 steps of the public DINO and of ours, from the same start with the same crops, in float32 on the CPU."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dinocli.dino.schedules import cosine
from dinocli.engine.build import build_learner
from dinocli.engine.distributed import World
from dinocli.engine.step import Learner, train_step
from dinocli.models.create import create_backbone
from tests.engine.learners import CPU, PREPROCESS, batch_of, tiny_recipe

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the public code, which is older than our torch
]
STEPS, IMAGES, LOCAL, PROTOTYPES = 200, 8, 2, 128
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2}
HEAD = {"hidden_dim": 64, "bottleneck_dim": 32}
UNDECAYED = ("pos_embed", "cls_token")
RATE, CLIP, FROZEN = 1e-3, 0.3, 20


def learner() -> Learner:
    recipe = tiny_recipe(
        *("model.name=vit_tiny_patch16_224", "views.global_size=32", "views.local_size=16"),
        *(f"views.local_count={LOCAL}", f"head.out_dim={PROTOTYPES}", "head.hidden_dim=64", "head.bottleneck_dim=32"),
        *(f"run.steps={STEPS}", f"run.batch_size={IMAGES}", f"optim.lr={RATE}", f"optim.head_lr={RATE}"),
        *(f"optim.clip_grad={CLIP}", f"optim.freeze_last_layer={FROZEN / STEPS}", "dino.teacher_momentum=0.99"),
    )
    torch.manual_seed(3)
    return build_learner(recipe, create_backbone(recipe.model.name, model_args=VIT), PREPROCESS, CPU, World())


def public_network(dino: SimpleNamespace, ours: nn.Module) -> Any:
    """The public backbone and head with our weights."""
    backbone = dino.vision_transformer.VisionTransformer(
        **{**VIT, "img_size": [VIT["img_size"]]}, qkv_bias=True, norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6)
    )
    network = dino.utils.MultiCropWrapper(backbone, dino.vision_transformer.DINOHead(64, PROTOTYPES, **HEAD))
    state = ours.state_dict()
    backbone.load_state_dict({name[15:]: value for name, value in state.items() if name.startswith("backbone.model.")})
    network.head.mlp.load_state_dict({name[9:]: v for name, v in state.items() if name.startswith("head.mlp.")})
    network.head.last_layer.weight_v.data.copy_(state["head.prototypes.direction"])
    return network


def public_losses(dino: SimpleNamespace, start: Learner, crops: list[list[Tensor]], decay_all: bool) -> list[float]:
    """Train as main_dino.py's `train_one_epoch` does, one line for one line."""
    student, teacher = public_network(dino, start.student), public_network(dino, start.student)
    loss_of = dino.main_dino.DINOLoss(PROTOTYPES, 2 + LOCAL, 0.04, 0.04, 0, STEPS)
    groups = dino.utils.get_params_groups(student)
    if not decay_all:
        apart = [value for name, value in student.named_parameters() if name.endswith(UNDECAYED)]
        groups[0]["params"] = [value for value in groups[0]["params"] if all(value is not other for other in apart)]
        groups[1]["params"] += apart
    optimizer = torch.optim.AdamW(groups)
    rates = dino.utils.cosine_scheduler(RATE, 1e-6, 1, STEPS)
    decays = dino.utils.cosine_scheduler(0.04, 0.4, 1, STEPS)
    momenta = dino.utils.cosine_scheduler(0.99, 1.0, 1, STEPS)
    losses = []
    for step, views in enumerate(crops):
        for number, group in enumerate(optimizer.param_groups):
            group["lr"] = rates[step]
            if number == 0:
                group["weight_decay"] = decays[step]
        with torch.no_grad():
            targets = teacher(views[:2])
        loss = loss_of(student(views), targets, 0)
        optimizer.zero_grad()
        loss.backward()
        dino.utils.clip_gradients(student, CLIP)
        dino.utils.cancel_gradients_last_layer(0 if step < FROZEN else 1, student, 1)
        optimizer.step()
        with torch.no_grad():
            for own, average in zip(student.parameters(), teacher.parameters(), strict=True):
                average.data.mul_(momenta[step]).add_((1 - momenta[step]) * own.detach().data)
        losses.append(float(loss))
    return losses


def views_of(ours: Learner, step: int) -> list[Tensor]:
    """The views of a step, one tensor for each resolution."""
    (batch,) = batch_of(IMAGES, seed=step % 5)
    return ours.multicrop(batch.pixels_BCHW, batch.sizes_B2, step=step, start=0, global_batch=IMAGES)


class Stored:
    """Gives views that were made before."""

    count = 2 + LOCAL

    def __init__(self, views: list[list[Tensor]]) -> None:
        self.views = views

    def __call__(self, *_: Any, step: int, **__: Any) -> list[Tensor]:
        return self.views[step]


@pytest.mark.parametrize(("decay_all", "most"), [(False, 1e-3), (True, 1e-2)], ids=["same decay", "public decay"])
def test_losses(dino: SimpleNamespace, near: Callable[..., None], decay_all: bool, most: float) -> None:
    """Ours takes no weight decay from position embedding and class token, the public code does."""
    ours = learner()
    start = copy.deepcopy(ours)
    crops = [views_of(ours, step) for step in range(STEPS)]
    ours.multicrop = Stored(crops)  # type: ignore[assignment]
    mine = [float(train_step(ours, batch_of(IMAGES, seed=step % 5), step)[0]) for step in range(STEPS)]
    lists = [[view for same_size in views for view in same_size.chunk(len(same_size) // IMAGES)] for views in crops]
    theirs = public_losses(dino, start, lists, decay_all)
    near(theirs, mine, most, "nats")
    assert max(mine) - min(mine) > 0.1, "nothing moved, and nothing is proved"
    assert ours.schedule.at(STEPS // 2).momentum == pytest.approx(cosine(STEPS // 2, STEPS, 0.99, 1.0))
