"""facebookresearch/dinov2 beside ours on the same tensors: backbones of each kind, head, loss, KoLeo, schedules."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dinocli.dino.koleo import koleo_loss
from dinocli.dino.loss import dino_loss
from dinocli.dino.schedules import cosine, warmup_cosine
from dinocli.models.attention import attend
from dinocli.models.head import DinoHead
from dinocli.models.transformers_folder import write_transformers
from dinocli.models.weights import load_backbone
from dinocli.models.weights_info import plain_preprocess
from tests.parity.test_dino import draw, head_state, prefixed, shaken

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the public code, which is older than our torch
]
Near = Callable[..., None]
RELEASED = {"img_size": 518, "patch_size": 14, "init_values": 1.0, "block_chunks": 0}
REGISTERS = {"num_register_tokens": 4, "interpolate_antialias": True, "interpolate_offset": 0.0}
OWN = {"img_size": 224, "patch_size": 16, "init_values": 1e-5}

KINDS: dict[str, tuple[dict[str, Any], Callable[[dict[str, Tensor]], Any]]] = {
    "released": (RELEASED, dict),
    "released with registers": (RELEASED | REGISTERS, dict),
    "blocks in chunks": (OWN | {"block_chunks": 4}, dict),
    "training checkpoint": (OWN | {"block_chunks": 0}, lambda tensors: {"teacher": prefixed("backbone.", tensors)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_features(dinov2: SimpleNamespace, near: Near, tmp_path: Path, kind: str) -> None:
    """At the size of the position embedding, at a smaller one, and of a picture that is not square."""
    arguments, stored = KINDS[kind]
    theirs = shaken(dinov2.vits.vit_small(**arguments))
    torch.save(stored(theirs.state_dict()), tmp_path / "a.pth")
    ours = load_backbone(str(tmp_path / "a.pth"))[0].eval()
    patch = arguments["patch_size"]
    with torch.no_grad():
        for rows, columns in ((arguments["img_size"] // patch,) * 2, (7, 7), (7, 10)):
            x = draw(1, 3, patch * rows, patch * columns)
            seen = theirs.forward_features(x)
            near(seen["x_norm_clstoken"], ours(x), 1e-4, "class token")
            grid = seen["x_norm_patchtokens"].transpose(1, 2).reshape(1, -1, rows, columns)
            near(grid, ours.patch_tokens(x), 1e-4, "patches")


@pytest.mark.parametrize("kind", ["released", "released with registers"])
def test_a_folder_of_the_transformers_library(dinov2: SimpleNamespace, near: Near, tmp_path: Path, kind: str) -> None:
    """As `export` writes it, under the library's names, and with the size that its processor names."""
    theirs = shaken(dinov2.vits.vit_small(**KINDS[kind][0]))
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    backbone, info, _ = load_backbone(str(tmp_path / "a.pth"))
    write_transformers(tmp_path / "folder", backbone, replace(plain_preprocess(info), size=98))
    ours, info, _ = load_backbone(str(tmp_path / "folder"))
    assert (info.matched, info.size) == (info.total, 98)
    x = draw(1, 3, 98, 98)
    with torch.no_grad():
        near(theirs.forward_features(x)["x_norm_clstoken"], ours.eval()(x), 1e-4)


@pytest.mark.parametrize("kind", ["released", "released with registers"])
def test_attention(dinov2: SimpleNamespace, near: Near, tmp_path: Path, kind: str) -> None:
    """The public code returns none: its queries and keys are taken where they come out of the last block's layer."""
    theirs = shaken(dinov2.vits.vit_small(**KINDS[kind][0]))
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    ours = load_backbone(str(tmp_path / "a.pth"))[0].eval()
    last, seen = theirs.blocks[-1].attn, []
    last.qkv.register_forward_hook(lambda layer, given, made: seen.append(made))
    x = draw(1, 3, 98, 70)
    with torch.no_grad():
        theirs.forward_features(x)
        query, key, _ = seen[0].reshape(1, -1, 3, last.num_heads, 64).permute(2, 0, 3, 1, 4)
        attention = (query @ key.mT * last.scale).softmax(-1)
        near(attention, attend(ours, x)[0].weights(range(attention.shape[-1])), 1e-5)


def test_head(dinov2: SimpleNamespace, near: Near) -> None:
    theirs = shaken(dinov2.heads.DINOHead(48, 96, hidden_dim=64, bottleneck_dim=32))
    ours = DinoHead(48, out_dim=96, hidden_dim=64, bottleneck_dim=32, batch_norm=False, norm_last_layer=False)
    ours.load_state_dict(head_state(theirs, normed=False))
    with torch.no_grad():
        near(theirs(draw(10, 48)), ours(draw(10, 48)), 1e-5)


def test_loss_and_centre(dinov2: SimpleNamespace, near: Near) -> None:
    """Theirs sums over the pairs that it is given and centres with the batch before; ours has the mean over pairs."""
    images, prototypes = 6, 50
    public = dinov2.losses.DINOLoss(prototypes)
    student = [3 * draw(images, prototypes, seed=seed) for seed in range(3)]
    teacher = 3 * draw(2 * images, prototypes, seed=8)
    public.update_center(teacher)
    first, second = public.softmax_center_teacher(teacher, 0.05).chunk(2)
    # Global views against each other, and the local one against both: the pairs of DINO.
    pairs = [([student[0]], [second]), ([student[1]], [first]), ([student[2]], [first, second])]
    total = sum(public(views, targets) for views, targets in pairs)
    center_K = 0.1 * teacher.mean(dim=0)
    near(public.center[0], center_K, 1e-6, "centre")
    mine = dino_loss(torch.stack(student), torch.stack([first, second]), 0.1)
    near(total / 4, mine, 1e-4, "loss, nats")


def test_koleo(dinov2: SimpleNamespace, near: Near) -> None:
    features = draw(32, 24)
    near(dinov2.losses.KoLeoLoss()(features), koleo_loss(features, torch.arange(32)), 1e-5)


def test_schedules(dinov2: SimpleNamespace, near: Near) -> None:
    rate = dinov2.schedules.CosineScheduler(4e-3, 1e-6, 70, warmup_iters=14)
    mine = [warmup_cosine(step, begin=0, warmup=14, steps=70, peak=4e-3, end=1e-6) for step in range(70)]
    near([rate[step] for step in range(14, 70)], mine[14:], 1e-9, "learning rate after its warm-up")
    momentum = dinov2.schedules.CosineScheduler(0.992, 1.0, 70)
    near([momentum[step] for step in range(70)], [cosine(step, 70, 0.992, 1.0) for step in range(70)], 1e-9, "momentum")
