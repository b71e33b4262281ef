"""Build networks, optimizer, learner and monitor from a resolved recipe; `build_views.py` builds the views."""

import copy
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dinocli.config.load import flat
from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.config.run_facts import RunFacts
from dinocli.dino.teacher import make_teacher
from dinocli.engine.build_views import build_views
from dinocli.engine.checkpoint import Checkpointer
from dinocli.engine.distributed import World, from_main
from dinocli.engine.monitor import Monitor
from dinocli.engine.objective import Objective
from dinocli.engine.optim import Updater, lr_scales, make_optimizer
from dinocli.engine.precision import Precision, candidates, fastest
from dinocli.engine.step import Learner
from dinocli.engine.step_schedule import StepSchedule
from dinocli.engine.trackers import open_trackers
from dinocli.engine.warmup import HeadWarmup
from dinocli.models.backbone import Backbone
from dinocli.models.frozen_teacher import FrozenTeacher, TeacherWeights
from dinocli.models.head import DinoHead, DinoNetwork
from dinocli.models.lora import add_lora, attention_linears
from dinocli.models.trainable import trainable_names
from dinocli.models.weights_info import WeightsInfo

TRIAL_PIXELS, TRIAL_IMAGES = 2 * 224**2, 6
"""Pixels and maximum number of images of a timing trial; with fewer, call overhead would dominate for small images."""


def facts_of(
    images: int, backbone: Backbone, info: WeightsInfo, world: World, distinct: int = 0, max_batch: int = 0
) -> RunFacts:
    """Return the facts on which automatic recipe values depend.

    Args:
        images: Number of readable images.
        backbone: Backbone with the start weights, on its device.
        info: Source of the weights.
        world: The process group.
        distinct: Number of images without near-duplicates; 0 for all.
        max_batch: Largest batch that fits into memory; 0 for no limit.
    """
    return RunFacts(
        images,
        info.pretrained,
        architecture=backbone.architecture,
        batch_norm=backbone.has_batch_norm,
        lora=bool(attention_linears(backbone)),
        processes=world.size,
        distinct=distinct,
        patch=backbone.patch,
        cpu=next(backbone.parameters()).device.type == "cpu",
        fixed_size=backbone.native_size if backbone.fixed_size else 0,
        pool=backbone.pool_kind,
        max_batch=max_batch,
        in_chans=backbone.in_chans,
    )


def build_precision(recipe: Recipe, backbone: Backbone, device: torch.device) -> Precision:
    """Choose precision and attention kernels: those of the recipe, or the fastest of a short trial on this machine."""
    own_kernels = not recipe.model.grad_checkpointing
    attention = recipe.run.attention if own_kernels else "fused"
    allowed = candidates(device, recipe.run.precision, attention, backbone.is_vit)
    choices = [replace(choice, own_kernels=own_kernels) for choice in allowed]
    if len(choices) == 1:
        return choices[0]
    model = copy.deepcopy(backbone).to(device).train()
    size = int(recipe.views.global_size)
    count = max(1, min(TRIAL_PIXELS // size**2, TRIAL_IMAGES))
    random = torch.Generator().manual_seed(0)
    images = torch.randn(count, backbone.in_chans, size, size, generator=random).to(device)

    def trial(choice: Precision) -> None:
        with choice.autocast():
            features = model(images)
        features.float().square().mean().backward()

    chosen = fastest(choices, trial)
    name, kernel = from_main(lambda: (chosen.name, chosen.attention))
    return Precision(device, name, kernel, own_kernels)


@torch.random.fork_rng(devices=[])  # the caller's random numbers stay as they are
def build_learner(
    recipe: Recipe,
    backbone: Backbone,
    preprocess: Preprocess,
    precision: Precision,
    world: World,
    teacher_weights: TeacherWeights | None = None,
) -> Learner:
    """Build student, teacher, optimizer and views of a resolved recipe. The given backbone is copied.

    Args:
        recipe: Resolved recipe.
        backbone: Backbone with the start weights.
        preprocess: Normalisation of the views.
        precision: Device and precision.
        world: The process group.
        teacher_weights: Weights of a frozen teacher, on the device; None for DINO's teacher, the EMA of the student.
    """
    torch.manual_seed(recipe.run.seed)  # for the initial weights of the head
    device, prototypes = precision.device, int(recipe.head.out_dim)
    student = DinoNetwork(_prepared(copy.deepcopy(backbone), recipe), _head(recipe, backbone, teacher_weights))
    if world.size > 1 and device.type == "cuda" and recipe.model.batch_norm == "train":
        student = nn.SyncBatchNorm.convert_sync_batchnorm(student)  # type: ignore[no-untyped-call]
    student = student.to(device).train()
    teacher = make_teacher(student)
    schedule = StepSchedule(recipe)
    factors = lr_scales(student.backbone, float(recipe.optim.layer_decay), recipe.optim.stem_lr_mult)
    trainable = trainable_names(student.backbone, recipe.model.trainable)
    factors = {name: factor for name, factor in factors.items() if name in trainable}
    learner = Learner(
        student=student,
        teacher=teacher,
        replica=student,
        center_K=torch.zeros(prototypes, device=device),
        updater=Updater(
            student,
            make_optimizer(student, factors),
            clip=recipe.optim.clip_grad,
            clip_mode=recipe.optim.clip_mode,
            scaler=precision.scaler(),
        ),
        objective=Objective(recipe.loss.model_dump(), backbone),
        multicrop=build_views(recipe, preprocess),
        schedule=schedule,
        warmup=HeadWarmup(schedule, prototypes, recipe.optim.head_warmup_loss),
        trainable=frozenset(trainable),
        precision=precision,
        world=world,
        batch_size=int(recipe.run.batch_size),
        seed=recipe.run.seed,
        frozen_teacher=FrozenTeacher(teacher_weights, prototypes, preprocess.mean, preprocess.std)
        if teacher_weights
        else None,
    )
    set_stage(learner, backbone_learns=schedule.at(0).backbone_learns)
    return learner


def set_stage(learner: Learner, *, backbone_learns: bool) -> None:
    """Freeze or unfreeze the backbone, and wrap the student in DDP again.

    DDP ignores parameters that were frozen when it wrapped the model.
    """
    learner.student.backbone_learns = backbone_learns
    for name, parameter in learner.student.backbone.named_parameters():
        parameter.requires_grad_(backbone_learns and name in learner.trainable)
    learner.replica = learner.student
    if learner.world.size > 1:
        ids = [learner.precision.device.index] if learner.precision.device.type == "cuda" else None
        # Gradients of a convnet are channels-last and are copied into DDP's buckets, about which torch warns.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        learner.replica = DistributedDataParallel(learner.student, device_ids=ids, gradient_as_bucket_view=True)


def build_checkpointer(recipe: Recipe, folder: Path, world: World) -> Checkpointer:
    """Build the checkpointer of a run."""
    return Checkpointer(folder, every=recipe.run.save_every, minutes=recipe.run.save_minutes, writes=world.is_main)


def build_monitor(recipe: Recipe, folder: Path, world: World) -> Monitor:
    """Build the monitor, which writes metrics.jsonl and detects collapse after the head warm-up."""
    steps = int(recipe.run.steps)
    window = max(1, round(recipe.guard.window * steps))
    losses = [name for name, weight in recipe.loss.model_dump().items() if weight]
    return Monitor(
        folder / "metrics.jsonl" if world.is_main else None,
        prototypes=int(recipe.head.out_dim),
        batch_size=int(recipe.run.batch_size),
        armed_at=round(float(recipe.optim.head_warmup) * steps) + window,
        window=window,
        extras=[*losses, *(["loss_scale"] if recipe.run.precision == "fp16" else [])],
        trackers=open_trackers(recipe.run.track, folder, dict(flat(recipe.model_dump(mode="json"))))
        if world.is_main
        else (),
    )


def _prepared(backbone: Backbone, recipe: Recipe) -> Backbone:
    """Apply gradient checkpointing, batch-norm mode and LoRA of the recipe."""
    if recipe.model.grad_checkpointing:
        backbone.set_grad_checkpointing(True)
    if recipe.model.batch_norm in ("frozen", "adapted"):
        backbone.freeze_batch_norm()
    if recipe.model.trainable == "lora":
        add_lora(backbone, recipe.model.lora_rank)
    return backbone


def _head(recipe: Recipe, backbone: Backbone, teacher_weights: TeacherWeights | None) -> DinoHead:
    """Build the head; in distillation its bottleneck has the teacher's width, and its prototypes are frozen."""
    head, teacher = recipe.head, teacher_weights.backbone if teacher_weights else None
    built = DinoHead(
        backbone.dim,
        out_dim=int(head.out_dim),
        hidden_dim=head.hidden_dim,
        bottleneck_dim=teacher.dim if teacher else head.bottleneck_dim,
        batch_norm=bool(head.batch_norm),
        norm_last_layer=head.norm_last_layer or teacher is not None,
        patch_dims=(backbone.map_dim, teacher.map_dim) if teacher and recipe.loss.teacher_patches else None,
    )
    if teacher:
        built.prototypes.requires_grad_(False)
    return built
