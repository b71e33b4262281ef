"""Objects built from the sections of a recipe."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.augment.view_pipeline import ViewSpec
from dinocli.config.auto import resolve
from dinocli.config.load import load_recipe
from dinocli.config.run_facts import RunFacts
from dinocli.data.loader import Loader
from dinocli.engine import build
from dinocli.engine.build import (
    build_learner,
    build_monitor,
    build_precision,
    facts_of,
    set_stage,
)
from dinocli.engine.build_views import view_specs
from dinocli.engine.distributed import World
from dinocli.engine.initialize import fill_center
from dinocli.engine.precision import Precision
from dinocli.engine.step import train_step
from dinocli.models.create import create_backbone
from dinocli.models.trainable import trainable_names
from dinocli.models.weights import load_backbone
from tests.engine.learners import CPU, PREPROCESS, batch_of, tiny_learner, tiny_recipe

VIEW_KEYS = ("ratio", "hflip", "vflip", "rot90", "jitter", "brightness", "contrast")
COLOUR_KEYS = ("saturation", "hue", "grayscale", "blur_sigma")


class Batches(Loader):
    """A loader of random batches that records which were requested."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def steps(self, first: int, last: int):  # type: ignore[no-untyped-def]
        for step in range(first, last):
            self.asked.append(step)
            yield batch_of(4, slices=2, seed=step)


def specs_of(*settings: str) -> tuple[ViewSpec, ViewSpec, ViewSpec]:
    """Return the three kinds of views of a resolved recipe with some settings."""
    recipe = load_recipe(settings=[f"views.{setting}" for setting in settings])
    return view_specs(resolve(recipe, RunFacts(300, pretrained=True)).views)


@pytest.mark.parametrize("key", [*VIEW_KEYS, *COLOUR_KEYS])
def test_shared_view_settings_reach_every_view(key: str) -> None:
    value = [0.3, 0.7] if key in ("ratio", "blur_sigma") else 0.37
    specs = specs_of(f"{key}={value}")
    assert all(getattr(spec, key) == (tuple(value) if isinstance(value, list) else value) for spec in specs)
    assert all(getattr(spec, key) != getattr(specs_of()[0], key) for spec in specs)


def test_settings_of_a_view_affect_that_view_only() -> None:
    settings = ["blur=[0.1, 0.2, 0.3]", "solarize=[0.4, 0.5, 0.6]", "local_size=64", "global_scale=[0.5, 0.6]"]
    first, second, local = specs_of(*settings)
    assert (first.blur, second.blur, local.blur) == (0.1, 0.2, 0.3)
    assert (first.solarize, second.solarize, local.solarize) == (0.4, 0.5, 0.6)
    assert (first.size, second.size, local.size) == (224, 224, 64)
    assert first.scale == second.scale == (0.5, 0.6)
    assert local.scale == (0.05, 0.4)


def test_the_teacher_starts_as_a_copy_head_included_and_the_given_backbone_stays() -> None:
    recipe = tiny_recipe()
    backbone = create_backbone(recipe.model.name)
    learner = build_learner(recipe, backbone, PREPROCESS, CPU, World())
    for (name, own), other in zip(learner.student.named_parameters(), learner.teacher.parameters(), strict=True):
        assert torch.equal(own, other), name
        assert not other.requires_grad
    with torch.no_grad():
        next(learner.student.parameters()).add_(1.0)
    assert torch.equal(next(backbone.parameters()), next(learner.teacher.parameters()))
    assert learner.student.training
    assert learner.teacher.training
    assert learner.multicrop.count == 3


@pytest.mark.parametrize(("setting", "training"), [("frozen", False), ("train", True)])
def test_batch_norm_is_frozen_in_both_networks_or_in_none(setting: str, training: bool) -> None:
    learner = tiny_learner("model.name=test_resnet", f"model.batch_norm={setting}")
    for network in (learner.student, learner.teacher):
        norms = [module for module in network.train().modules() if isinstance(module, _BatchNorm)]
        assert norms
        assert all(module.training is training for module in norms)
        assert all(module.weight.requires_grad is (network is learner.student) for module in norms)


def test_settings_of_head_and_optimizer_arrive() -> None:
    learner = tiny_learner(
        "head.norm_last_layer=false", "head.batch_norm=true", "optim.clip_grad=0.5", "head.out_dim=7"
    )
    assert learner.student.head.prototypes.direction.shape == (7, 16)
    assert learner.student.head.prototypes.length is not None
    assert any(isinstance(layer, torch.nn.BatchNorm1d) for layer in learner.student.head.mlp)
    assert (learner.updater.clip, learner.updater.clip_mode) == (0.5, "parameter")
    assert learner.center_K.shape == (7,)
    assert type(learner.updater.optimizer) is torch.optim.AdamW


def test_the_first_stage_follows_the_plan() -> None:
    for warmup, learns in ((0.0, True), (0.5, False)):
        learner = tiny_learner(f"optim.head_warmup={warmup}")
        assert learner.student.backbone_learns is learns
        assert all(parameter.requires_grad is learns for parameter in learner.student.backbone.parameters())
        assert all(parameter.requires_grad for parameter in learner.student.head.parameters())
    set_stage(learner, backbone_learns=True)
    assert all(parameter.requires_grad for parameter in learner.student.parameters())
    assert not any(parameter.requires_grad for parameter in learner.teacher.parameters())


@pytest.mark.parametrize("part", ["all", "last-2", "norms"])
def test_only_the_chosen_part_of_the_backbone_ever_moves(part: str) -> None:
    learner = tiny_learner(f"model.trainable={part}", "optim.weight_decay_end=0.4", "optim.weight_decay=0.4")
    before = {name: p.detach().clone() for name, p in learner.student.named_parameters()}
    chosen = {f"backbone.{name}" for name in trainable_names(learner.student.backbone, part)}
    chosen |= {name for name in before if name.startswith("head.")}
    named = {id(p): name for name, p in learner.student.named_parameters()}
    held = [named[id(p)] for group in learner.updater.optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(chosen)
    assert {name for name, p in learner.student.named_parameters() if p.requires_grad} == chosen
    for step in range(2):
        train_step(learner, batch_of(4, seed=step), step)
    for network in (learner.student, learner.teacher):
        moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
        assert moved <= chosen
        assert len(moved) > 0.9 * len(chosen), "a bias may stand still"


def test_layer_decay_and_stem_reach_the_optimizer() -> None:
    def rates(*settings: str) -> dict[str, float]:
        learner = tiny_learner(*settings)
        learner.updater.prepare(learner.schedule.at(0))
        named = {id(p): name for name, p in learner.student.named_parameters()}
        return {named[id(p)]: g["lr"] for g in learner.updater.optimizer.param_groups for p in g["params"]}

    plain, decayed, stem = rates(), rates("optim.layer_decay=0.5"), rates("optim.stem_lr_mult=0.25")
    heads = {name for name in plain if name.startswith("head.")}
    assert set(plain.values()) == {1e-3}
    assert all(decayed[name] == stem[name] == plain[name] for name in heads)
    assert (
        decayed["backbone.model.stages.0.blocks.0.mlp.fc1.weight"] < decayed["backbone.model.head.norm.weight"] == 1e-3
    )
    assert {name for name in plain if stem[name] != plain[name]} == {n for n in plain if ".stem." in n}


def test_the_centre_starts_at_the_mean_of_the_teachers_scores() -> None:
    """With batches that training does not use, and without changing the networks."""
    learner, loader = tiny_learner(), Batches()
    before = [parameter.clone() for parameter in learner.student.parameters()]
    fill_center(learner, loader, 2)
    assert loader.asked == [10, 11], "after the last step"
    rows = []
    for step in loader.asked:
        (batch,) = batch_of(4, seed=step)
        (views,) = learner.multicrop(batch.pixels_BCHW, batch.sizes_B2, step=step, start=0, global_batch=4)
        with torch.no_grad():
            rows += [learner.teacher.head(learner.teacher.backbone(image[None]))[0] for image in views[:8]]
    assert len(rows) == 16
    torch.testing.assert_close(learner.center_K, torch.stack(rows).mean(0), atol=1e-6, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.student.parameters(), strict=True))


def test_no_batches_leave_the_centre_at_zero() -> None:
    learner, loader = tiny_learner(), Batches()
    fill_center(learner, loader, 0)
    assert loader.asked == []
    assert not learner.center_K.any()


@pytest.mark.parametrize(
    ("steps", "warmup", "armed_at", "window"), [(100, 0.2, 25, 5), (1, 0.0, 1, 1), (10, 0.3, 4, 1)]
)
def test_the_guard_is_armed_one_window_after_the_heads_warm_up(
    steps: int, warmup: float, armed_at: int, window: int, tmp_path: Path
) -> None:
    recipe = tiny_recipe(f"run.steps={steps}", f"optim.head_warmup={warmup}")
    made = build_monitor(recipe, tmp_path, World())
    assert (made.armed_at, made.window) == (armed_at, window)
    assert made.path is not None
    assert build_monitor(recipe, tmp_path, World(1, 2)).path is None


def test_settings_of_the_recipe_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Precision:
        raise AssertionError("timed")

    monkeypatch.setattr(build, "fastest", refuse)
    backbone = create_backbone("test_convnext")
    chosen = build_precision(tiny_recipe("run.precision=bf16"), backbone, torch.device("cpu"))
    assert (chosen.name, chosen.attention) == ("bf16", "fused")


def test_auto_precision_is_measured_and_leaves_the_backbone_alone() -> None:
    backbone = create_backbone("test_convnext")
    before = [parameter.clone() for parameter in backbone.parameters()]
    recipe = tiny_recipe("run.precision=auto", "run.attention=auto")
    chosen = build_precision(recipe, backbone, torch.device("cpu"))
    assert chosen.name in ("fp32", "bf16")
    assert all(torch.equal(a, b) for a, b in zip(before, backbone.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in backbone.parameters())


@pytest.mark.parametrize(
    ("name", "kind", "batch_norm", "lr", "decay"),
    [
        ("xcit_nano_12_p16_224", "vit", True, 3e-5, 0.75),
        ("pvt_v2_b0", "hierarchical", False, 3e-5, 0.75),
        ("convnext_atto", "convnet", False, 2e-4, 1.0),
        ("tf_efficientnet_lite0", "convnet", True, 2e-4, 1.0),
    ],
)
def test_rates_follow_what_the_network_is(name: str, kind: str, batch_norm: bool, lr: float, decay: float) -> None:
    backbone, info, _ = load_backbone("none", name)
    facts = facts_of(3_000, backbone, replace(info, pretrained=True), World())
    assert (facts.architecture, facts.batch_norm) == (kind, batch_norm)
    found = resolve(load_recipe(["gentle"]), facts)
    assert (found.optim.lr, found.optim.layer_decay) == (lr, decay)


def test_the_resolved_recipe_states_the_trained_feature() -> None:
    for name, pool in (("test_vit", "cls"), ("resnet10t", "timm")):
        backbone, info, _ = load_backbone("none", name)
        assert resolve(load_recipe(), facts_of(300, backbone, info, World())).model.pool == pool
