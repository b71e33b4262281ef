"""`dinocli recipe`, and every way to change a setting."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from dinocli.cli.app import app
from dinocli.cli.usage import without_options
from dinocli.config.load import load_recipe, recipe_folder, recipe_names, with_values
from dinocli.errors import UsageError
from dinocli.tasks.inputs import check_data
from tests.cli.commands import TINY, Result, dinocli, warm
from tests.shortcuts import UNMEASURED

KEYS = [
    f"{section}.{key}"
    for section, values in load_recipe().model_dump().items()
    if isinstance(values, dict)
    for key in values
]
NATURAL = load_recipe(["natural"])
VALUES: list[Any] = [
    *(True, False, 1, 64, 0.5, [0.25, 0.5], [0.1, 0.2, 0.3], [0], ["tensorboard"]),
    *("full", "off", "mean", "fp32", "math", "train", "global", "none", "25", "last-1", "random", "1,2,3,4"),
]


def run(*arguments: str | Path) -> Result:
    """Run a light command in this process."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return Result(done.exit_code, done.stdout, done.stderr)


def test_list_names_every_recipe_with_its_description() -> None:
    done = dinocli("recipe", "list")
    rows = dict(line.split("\t") for line in done.out.splitlines())
    assert set(rows) == {path.stem for path in recipe_folder().glob("*.toml")}
    assert {"natural", "industrial", "grey"} <= set(rows)
    assert all(len(description) > 10 for description in rows.values())
    assert json.loads(run("recipe", "list", "--json").out) == {"schema": 1, "recipes": rows}


@pytest.mark.parametrize("name", recipe_names())
def test_show_is_a_recipe_again(name: str, tmp_path: Path) -> None:
    (tmp_path / "shown.toml").write_text(run("recipe", "show", name).out)
    assert load_recipe([str(tmp_path / "shown.toml")]) == load_recipe([name])
    as_json = json.loads(run("recipe", "show", name, "--json").out)
    assert as_json == {"schema": 1, "recipe": load_recipe([name]).model_dump(mode="json")}


def test_show_merges_recipes_and_settings_the_later_ones_winning() -> None:
    done = run("recipe", "show", "grey", "texture", "-s", "run.steps=5", "-s", "run.steps=6", "--json")
    recipe = json.loads(done.out)["recipe"]
    assert recipe["description"] == load_recipe(["texture"]).description
    assert recipe["run"]["steps"] == 6


def test_copy_keeps_the_comments_and_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "[mine] 1.toml"
    done = run("recipe", "copy", "natural", target)
    assert (done.code, done.out) == (0, f"{target}\n")
    assert target.read_text() == (recipe_folder() / "natural.toml").read_text()
    target.write_text("precious")
    refused = run("recipe", "copy", "natural", target)
    assert refused.code == 2
    assert "--force" in refused.err
    assert target.read_text() == "precious"
    assert run("recipe", "copy", "natural", target, "--force").code == 0
    assert run("recipe", "check", target).out == ""


def test_check_lists_differences_and_refuses_invalid_recipes(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "grey"\n[run]\nsteps = 12\n')
    done = run("recipe", "check", mine)
    assert done.code == 0
    assert "run.steps: 'auto' -> 12" in done.out.splitlines()
    assert set(run("recipe", "check", "grey").out.splitlines()) < set(done.out.splitlines())
    assert json.loads(run("recipe", "check", mine, "--json").out)["differences"] == done.out.splitlines()
    mine.write_text("[run]\nstps = 12\n")
    wrong = run("recipe", "check", mine)
    assert (wrong.code, wrong.out) == (2, "")
    assert f"{mine}: there is no setting run.stps; did you mean run.steps?" in wrong.err
    mine.write_text("[run\n")
    assert "not valid TOML" in run("recipe", "check", mine).err


def test_the_walk_saw_the_settings() -> None:
    assert len(KEYS) > 60
    assert len({key.partition(".")[0] for key in KEYS}) == 9


@pytest.mark.parametrize("key", KEYS)
def test_set_reaches_every_setting_and_no_other(key: str) -> None:
    done = run("recipe", "check", "natural", "--set", f"{key}={other_value(key)}")
    assert done.code == 0
    (line,) = done.out.splitlines()
    assert line.startswith(f"{key}: ")


def other_value(key: str) -> str:
    """Return a value that a setting takes and has not, as it is typed."""
    for value in VALUES:
        with contextlib.suppress(UsageError):
            changed = with_values(NATURAL, {key: value})
            check_data(changed.data)
            if changed != NATURAL:
                return value if isinstance(value, str) else json.dumps(value)
    pytest.fail(f"no value reaches {key}")


def dry_run(images: Path, cwd: Path, *arguments: str) -> dict[str, Any]:
    done = warm("pretrain", images, *TINY, "--dry-run", "--json", *arguments, cwd=cwd, replaced=UNMEASURED)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)["recipe"]
    return found


def test_plain_options_win_over_recipes(tmp_path: Path) -> None:
    images = tmp_path / "stacks"
    images.mkdir()
    for number in range(12):
        planes = np.random.default_rng(number).integers(0, 255, (3, 40, 48), np.uint8)
        tifffile.imwrite(images / f"{number}.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[data]\nrange = "minmax"\nchannels = [1]\npage = 3\nz = "mean"\nmax_bad = "1%"\ncache = "off"\nworkers = 3\n'
        '[model]\nweights = "nowhere"\nname = "nothing"\n[run]\nsteps = 5\nbatch_size = 8\nseed = 1\n'
    )
    options = {
        "data.range": ("--range", "full"),
        "data.channels": ("--channels", "0"),
        "data.page": ("--page", "0"),
        "data.z": ("--z", "max"),
        "data.roi": ("--roi", "1,2,30,20"),
        "data.max_bad": ("--max-bad", "25"),
        "data.cache": ("--cache", "1M"),
        "data.workers": ("--workers", "0"),
        "model.weights": ("--weights", "none"),
        "model.name": ("--model", "test_convnext"),
        "run.steps": ("--steps", "7"),
        "run.batch_size": ("--batch-size", "2"),
        "run.seed": ("--seed", "3"),
    }
    found = dry_run(images, tmp_path, "--recipe", str(mine), *(word for pair in options.values() for word in pair))
    for key, (_, value) in options.items():
        section, name = key.split(".")
        given = found[section][name]
        assert (given if isinstance(given, str) else json.dumps(given).strip("[]")) == value, key


def test_set_wins_over_plain_options_and_a_recipe_comes_from_show(images: Path, tmp_path: Path) -> None:
    (tmp_path / "shown.toml").write_text(run("recipe", "show", "satellite", "--set", "run.seed=9").out)
    found = dry_run(images, tmp_path, "-r", "shown.toml", "--steps", "7", "--set", "run.steps=8")
    assert found["run"]["steps"] == 8
    assert found["run"]["seed"] == 9
    assert found["description"] == load_recipe(["satellite"]).description


def test_more_processes_get_the_same_command_without_gpus() -> None:
    line = ["pretrain", "a", "--gpus", "2", "--steps", "2", "--gpus=3", "--out", "--gpus-like"]
    assert without_options(line, ("--gpus",)) == ["pretrain", "a", "--steps", "2", "--out", "--gpus-like"]
