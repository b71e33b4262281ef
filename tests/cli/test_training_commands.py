"""`pretrain` and `finetune-ssl` are one function with two recipes."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from dinocli.cli.app import app
from dinocli.cli.training import NO_RECIPE
from dinocli.config.load import load_recipe
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import load_backbone
from tests.cli.commands import TINY, Result, make_images, warm
from tests.engine.learners import PREPROCESS
from tests.shortcuts import UNMEASURED

BASE_RECIPES = {"pretrain": [], "finetune-ssl": ["gentle"]}


def recipe_of(images: Path, command: str, *more: str) -> dict[str, Any]:
    asked = ("--steps", "4", "--dry-run", "--json", *more)
    done = warm(command, images, *TINY, *asked, cwd=images.parent, replaced=UNMEASURED)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)["recipe"]
    return found


def test_they_have_the_same_options() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    one, other = (
        [(parameter.name, parameter.opts, parameter.default, parameter.help) for parameter in commands[name].params]
        for name in BASE_RECIPES
    )
    assert one == other
    assert len(one) > 20
    assert commands["pretrain"].help != commands["finetune-ssl"].help


@pytest.mark.parametrize(
    ("command", "named", "expected"),
    [
        ("finetune-ssl", "", ["gentle", "plain"]),
        pytest.param("finetune-ssl", "microscopy", ["gentle", "microscopy"], marks=pytest.mark.slow),
        pytest.param("pretrain", "", [], marks=pytest.mark.slow),
        pytest.param("finetune-ssl", "natural", ["gentle"], marks=pytest.mark.slow),
    ],
)
def test_without_a_recipe_the_weakest_changes_are_used(
    command: str, named: str, expected: list[str], tmp_path: Path
) -> None:
    images = make_images(tmp_path / "images")
    bare = [word for word in TINY if word not in ("--recipe", "grey")]
    asked = (*(["--recipe", named] if named else []), "--dry-run", "--json")
    done = warm(command, images, *bare, *asked, cwd=tmp_path, replaced=UNMEASURED)
    assert done.code == 0, done.err
    views, asked = json.loads(done.out)["recipe"]["views"], load_recipe(expected).model_dump(mode="json")["views"]
    for key in ("brightness", "contrast", "saturation", "hue", "grayscale", "blur", "solarize", "vflip"):
        assert views[key] == asked[key], key


@pytest.mark.parametrize("command", BASE_RECIPES)
def test_each_lays_its_recipe_under_the_users(command: str, tmp_path: Path) -> None:
    found = recipe_of(make_images(tmp_path / "images"), command, "--set", "optim.stem_lr_mult=0.5")
    expected = load_recipe([*BASE_RECIPES[command], "grey"]).model_dump(mode="json")
    for section, key in (("optim", "head_warmup_loss"), ("guard", "patience"), ("model", "drop_path")):
        assert found[section][key] == expected[section][key]
    assert found["optim"]["stem_lr_mult"] == 0.5
    assert found["views"]["blur"] == [0.0, 0.0, 0.0], "the user's recipe"


@pytest.mark.parametrize("command", [pytest.param("pretrain", marks=pytest.mark.slow), "finetune-ssl"])
def test_a_teacher_lays_the_recipe_of_distillation_under_the_users(command: str, tmp_path: Path) -> None:
    images = make_images(tmp_path / "images")
    backbone, info, _ = load_backbone("none", "test_resnet")
    teacher = tmp_path / "teacher"
    save_backbone(teacher, backbone, info, PREPROCESS)
    found = recipe_of(images, command, "--teacher", str(teacher), "--set", "head.out_dim=8")
    expected = load_recipe(["distill", "grey"]).model_dump(mode="json")
    for section, keys in (("loss", ("teacher_feature", "teacher_patches")), ("dino", ("center_momentum",))):
        assert all(found[section][key] == expected[section][key] for key in keys)
    assert found["model"]["teacher"] == str(teacher)
    assert found["optim"]["head_warmup_loss"] == expected["optim"]["head_warmup_loss"], "not the gentle way"
    assert found["views"]["blur"] == [0.0, 0.0, 0.0], "the user's recipe"


def test_the_recipe_of_distillation_alone_asks_for_a_teacher(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images")
    done = warm("pretrain", images, *TINY, "--recipe", "distill", "--dry-run", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "--teacher" in done.err


@pytest.fixture(scope="module")
def gentle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run of `finetune-ssl` without a recipe, and the folder where it was started."""
    home = tmp_path_factory.mktemp("gentle")
    words = [word for word in TINY if word not in ("--recipe", "grey")]
    return home, warm("finetune-ssl", make_images(home / "images"), *words, "--steps", "4", cwd=home)


def test_a_gentle_run_leaves_a_folder_of_its_own_name(gentle: tuple[Path, Result]) -> None:
    home, done = gentle
    assert done.code == 0, done.err
    folder = home / done.out.strip()
    assert folder.name.startswith("finetune-ssl-images-")
    manifest = json.loads((folder / "run.json").read_text())
    assert manifest["command"] == "finetune-ssl"
    assert manifest["outcome"]["verdict"]["keep"] == "start"
    assert manifest["outcome"]["advice"]
    assert all(f"Try next: {advice}" in done.err.replace("\n", " ") for advice in manifest["outcome"]["advice"][:1])


def test_a_run_without_a_recipe_ends_with_a_hint_at_recipes(gentle: tuple[Path, Result], finished: Result) -> None:
    assert NO_RECIPE in gentle[1].err.replace("\n", " ")
    assert NO_RECIPE not in finished.err.replace("\n", " "), "a recipe was named"
