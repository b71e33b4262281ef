"""Automatic values over all numbers of images."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from dinocli.config.architecture_defaults import DEFAULTS, Architecture
from dinocli.config.auto import batch_size, head_warmup, resolve, teacher_momentum
from dinocli.config.load import load_recipe, with_values
from dinocli.config.run_facts import RunFacts

SIZES = [2, 10, 40, 300, 3_000, 1_000_000]
FACTS = [
    RunFacts(images, pretrained, kind, batch_norm=batch_norm)
    for images, pretrained, kind in itertools.product(SIZES, (True, False), DEFAULTS)
    for batch_norm in (True, False)
]
MEASURED = {"run.precision", "run.attention", "data.cache", "data.workers", "data.range"}  # left to the machine


def test_the_table_of_a_continued_vit() -> None:
    table = []
    for images in (2, 10, 40, 300, 3_000, 30_000, 1_000_000):
        recipe = resolve(load_recipe(), RunFacts(images, pretrained=True))
        table.append((images, recipe.run.batch_size, recipe.run.steps, recipe.head.out_dim, recipe.optim.lr))
    assert table == [
        (2, 2, 1_500, 1_024, 2e-5),
        (10, 5, 1_500, 1_024, 2e-5),
        (40, 20, 1_500, 1_024, 2e-5),
        (300, 32, 1_500, 1_024, 2e-5),
        (3_000, 64, 4_600, 1_024, 3e-5),
        (30_000, 128, 12_000, 4_096, 5e-5),
        (1_000_000, 256, 37_000, 32_768, 1.4e-4),
    ]


@pytest.mark.parametrize("facts", FACTS, ids=str)
def test_a_resolved_recipe_has_values_in_range(facts: RunFacts) -> None:
    recipe = resolve(load_recipe(), facts)
    data = recipe.model_dump(mode="json")
    left = {f"{section}.{key}" for section, keys in data.items() if isinstance(keys, dict) for key in keys}
    left = {key for key in left if data[key.split(".")[0]][key.split(".")[1]] == "auto"}
    assert left == MEASURED | ({"run.compile"} if not facts.cpu else set())
    batch, count = int(recipe.run.batch_size), int(recipe.head.out_dim)
    assert 2 <= batch <= max(2, facts.images // 2)
    assert count == 2 ** round(math.log2(count))
    assert 1_024 <= count <= 65_536
    assert int(recipe.run.steps) >= (500 if facts.pretrained and facts.architecture == "convnet" else 1_000)
    assert 0.98 <= float(recipe.dino.teacher_momentum) <= 0.9995
    assert recipe.model.batch_norm == ("train" if not facts.pretrained else "adapted" if facts.batch_norm else "frozen")
    paper = facts.architecture == "convnet" and facts.batch_norm and not facts.pretrained
    assert recipe.head.batch_norm is paper
    assert recipe.optim.weight_decay_end == (0.04 if facts.pretrained else 0.4)
    assert resolve(recipe, facts) == recipe, "nothing is left to resolve"


@pytest.mark.parametrize(
    ("patch", "cpu", "sizes"),
    [
        (16, False, (224, 96, 8)),
        (14, False, (224, 98, 8)),
        (0, False, (224, 96, 8)),
        (16, True, (128, 64, 4)),
        (14, True, (126, 70, 4)),
        (0, True, (128, 64, 4)),
    ],
)
def test_views_are_the_papers_where_there_is_an_accelerator_and_whole_patches_everywhere(
    patch: int, cpu: bool, sizes: tuple[int, int, int]
) -> None:
    views = resolve(load_recipe(), RunFacts(300, True, "vit" if patch else "convnet", patch=patch, cpu=cpu)).views
    assert (views.global_size, views.local_size, views.local_count) == sizes


def test_a_backbone_of_fixed_size_gets_all_views_at_that_size() -> None:
    views = resolve(load_recipe(), RunFacts(300, True, patch=16, cpu=True, fixed_size=224)).views
    assert (views.global_size, views.local_size, views.local_count) == (224, 224, 2)


@pytest.mark.parametrize("images", SIZES[2:])
def test_from_scratch_is_the_papers_rule(images: int) -> None:
    recipe = resolve(load_recipe(), RunFacts(images, pretrained=False))
    assert recipe.optim.lr == pytest.approx(5e-4 * int(recipe.run.batch_size) / 256)
    assert recipe.optim.head_lr == recipe.optim.lr
    assert recipe.optim.head_warmup == 0.0
    assert int(recipe.run.steps) * int(recipe.run.batch_size) >= 0.95 * 100 * images, "100 epochs"


def test_automatic_values_rise_with_the_number_of_images() -> None:
    rows = []
    for images in range(2, 40_000, 397):
        recipe = resolve(load_recipe(), RunFacts(images, pretrained=True))
        values = (recipe.run.batch_size, recipe.run.steps, recipe.head.out_dim, recipe.optim.lr)
        rows.append([float(value) for value in values])
    assert all(a <= b for before, after in itertools.pairwise(rows) for a, b in zip(before, after, strict=True))


def test_batches_are_multiples_of_8_where_the_folder_allows() -> None:
    assert all(batch_size(RunFacts(n, True)) % 8 == 0 for n in range(64, 100_000, 331))


def test_explicit_values_are_left_alone() -> None:
    explicit = {
        "model.in_chans": 3,
        "guard.probe_images": 77,
        "views.global_size": 160,
        "views.local_size": 32,
        "views.local_count": 0,
        "run.batch_size": 6,
        "run.steps": 17,
        "model.batch_norm": "train",
        "model.pool": "mean",
        "head.init": "random",
        "head.batch_norm": True,
        "head.out_dim": 99,
        "dino.center_batches": 3,
        "dino.teacher_momentum": 0.5,
        "model.trainable": "norms",
        "optim.layer_decay": 0.5,
        "optim.lr": 0.125,
        "optim.head_lr": 0.25,
        "optim.head_warmup": 0.75,
        "optim.grad_accum_steps": 2,
        "optim.weight_decay_end": 0.01,
        "guard.max_share": 0.5,
        "guard.synthetic_defects": False,
    }
    asked = with_values(load_recipe(), explicit)
    for facts in FACTS:
        assert resolve(asked, facts) == asked


def test_values_that_follow_from_the_steps_follow_explicit_steps() -> None:
    short, long = (
        resolve(load_recipe(settings=[f"run.steps={steps}"]), RunFacts(300, pretrained=True)) for steps in (200, 50_000)
    )
    assert short.dino.teacher_momentum == 0.98
    assert long.dino.teacher_momentum == pytest.approx(0.999)
    assert (short.dino.center_batches, long.dino.center_batches) == (4, 4)
    assert short.optim.head_warmup == pytest.approx(1 / 3)
    assert long.optim.head_warmup == pytest.approx(1 / 12)


@pytest.mark.parametrize(("steps", "batches"), [(1, 1), (31, 1), (32, 2), (64, 4), (10_000, 4)])
def test_the_centre_takes_one_percent_of_a_short_run(steps: int, batches: int) -> None:
    resolved = resolve(load_recipe([], [f"run.steps={steps}"]), RunFacts(300, pretrained=True))
    assert resolved.dino.center_batches == batches


@pytest.mark.parametrize(
    ("steps", "momentum"), [(1, 0.98), (2_000, 0.98), (5_000, 0.99), (10_000, 0.995), (10**6, 0.9995)]
)
def test_teacher_momentum_averages_over_a_fiftieth_of_the_run(steps: int, momentum: float) -> None:
    assert teacher_momentum(steps) == pytest.approx(momentum)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_the_heads_warm_up_leaves_most_of_the_run(steps: int) -> None:
    assert 0 <= head_warmup(RunFacts(300, True), steps) <= 1 / 3


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
@pytest.mark.parametrize("images", [2, 10, 40, 300, 5000])
def test_a_batch_can_be_cut_into_its_parts(images: int, parts: int) -> None:
    facts = RunFacts(images, pretrained=True, processes=parts)
    for slices in (1, 2):
        recipe = resolve(load_recipe(settings=[f"optim.grad_accum_steps={slices}"]), facts)
        assert int(recipe.run.batch_size) % (parts * slices) == 0


@pytest.mark.parametrize(
    ("batch", "facts", "settings", "slices"),
    [
        (48, {}, (), 3),
        (64, {}, (), 4),
        (16, {}, (), 1),
        (37, {}, (), 1),
        (48, {"processes": 2}, (), 2),
        (48, {"cpu": False}, (), 1),
        (48, {"pretrained": False}, (), 1),
        (48, {}, ("loss.koleo=0.1",), 1),
        (48, {}, ("model.batch_norm=train",), 1),
        (48, {}, ("optim.grad_accum_steps=6",), 6),
    ],
)
def test_a_batch_is_cut_on_a_cpu_where_slices_are_exact(
    batch: int, facts: dict[str, Any], settings: tuple[str, ...], slices: int
) -> None:
    known = replace(RunFacts(1_000, True, "convnet", batch_norm=True, cpu=True), **facts)
    recipe = resolve(load_recipe(settings=[f"run.batch_size={batch}", *settings]), known)
    assert recipe.optim.grad_accum_steps == slices


@pytest.mark.parametrize("kind", ["vit", "hierarchical"])
def test_the_gentle_table_of_transformers(kind: Architecture) -> None:
    """Less of a transformer learns, and slower towards its stem, the fewer different images there are."""
    table = []
    for images in (40, 300, 3_000, 30_000, 300_000):
        found = resolve(load_recipe(["gentle"]), RunFacts(images, True, kind))
        table.append((images, found.model.trainable, found.optim.lr, found.optim.layer_decay))
    assert table == [
        (40, "lora", 1e-4, 1.0),
        (300, "lora", 1e-4, 1.0),
        (3_000, "all", 3e-5, 0.75),
        (30_000, "all", 5e-5, 0.85),
        (300_000, "all", 1e-4, 0.9),
    ]
    scratch = resolve(load_recipe(["gentle"]), RunFacts(300, False, kind))
    assert (scratch.model.trainable, scratch.optim.layer_decay) == ("all", 1.0)
    unknown = resolve(load_recipe(["gentle"]), RunFacts(300, True, kind, lora=False))
    assert (unknown.model.trainable, unknown.optim.layer_decay) == ("all", 0.75)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_convnet_has_its_rate_and_no_layer_decay_with_and_without_batch_norm(batch_norm: bool) -> None:
    found = resolve(load_recipe(["gentle"]), RunFacts(300, True, "convnet", batch_norm=batch_norm))
    assert (found.model.trainable, found.optim.lr, found.optim.layer_decay) == ("all", 2e-4, 1.0)
    assert found.run.steps == 500


def test_gentle_and_a_domain_recipe_combine() -> None:
    names = ("natural", "grey", "industrial", "texture", "microscopy", "satellite")
    gentle = load_recipe(["gentle"])
    for name in names:
        own, both = load_recipe([name]), load_recipe(["gentle", name])
        assert both.views == own.views.model_copy(update={"global_scale": gentle.views.global_scale})
        assert (both.optim, both.model, both.guard, both.loss) == (
            gentle.optim,
            gentle.model,
            gentle.guard,
            gentle.loss,
        )


def test_near_duplicates_count_once_in_automatic_values() -> None:
    copies = resolve(load_recipe(), RunFacts(3_000, pretrained=True, distinct=300))
    few = resolve(load_recipe(), RunFacts(300, pretrained=True))
    assert copies == few
    same = resolve(load_recipe(), RunFacts(500, pretrained=True, distinct=1))
    assert same.run.batch_size == 32, "a batch is cut to half of the images that there are"
