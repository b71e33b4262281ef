"""A small learner whose steps take milliseconds, and batches for it."""

import torch

from dinocli.config.load import load_recipe
from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.data.loader import Batch
from dinocli.engine.build import build_learner
from dinocli.engine.distributed import World
from dinocli.engine.precision import Precision
from dinocli.engine.step import Learner
from dinocli.models.create import create_backbone
from tests.networks import FOUR_BLOCKS

CPU = Precision(torch.device("cpu"), "fp32", "fused")
PREPROCESS = Preprocess(
    range_policy="full",
    range_low=0.0,
    range_high=1.0,
    deep=False,
    grey=True,
    channels=(),
    page=0,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    size=32,
)

TINY = (
    "model.weights=none",
    f"model.name={FOUR_BLOCKS}",
    "model.drop_path=0",
    "model.batch_norm=train",
    "data.short_side=32",
    "data.workers=0",
    "views.global_size=32",
    "views.local_size=32",
    "views.local_count=1",
    "head.out_dim=64",
    "head.hidden_dim=32",
    "head.bottleneck_dim=16",
    "head.batch_norm=false",
    "dino.teacher_momentum=0.9",
    "optim.lr=1e-3",
    "optim.head_lr=1e-3",
    "optim.head_warmup=0",
    "optim.lr_warmup=0",
    "optim.freeze_last_layer=0",
    "optim.weight_decay_end=0.4",
    "run.steps=10",
    "run.batch_size=4",
    "run.precision=fp32",
    "run.attention=fused",
    "guard.max_share=1",
)


def tiny_recipe(*settings: str) -> Recipe:
    return load_recipe(["grey"], [*TINY, *settings])


def tiny_learner(*settings: str) -> Learner:
    """Build a learner; equal settings give equal weights."""
    recipe = tiny_recipe(*settings)
    torch.manual_seed(1)
    backbone = create_backbone(recipe.model.name, drop_path=recipe.model.drop_path)
    return build_learner(recipe, backbone, PREPROCESS, CPU, World())


def batch_of(images: int, slices: int = 1, seed: int = 0) -> list[Batch]:
    """Return one batch of random grey images, split into slices."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (images, 1, 40, 40), dtype=torch.uint8, generator=generator)
    sizes = torch.full((images, 2), 40)
    part = images // slices
    return [
        Batch(pixels[start : start + part], sizes[start : start + part], start, [*range(start, start + part)])
        for start in range(0, images, part)
    ]
