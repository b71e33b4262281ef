"""Files of a run, read by other tools: TOML, JSON, timm, a browser."""

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image

from dinocli import __version__
from dinocli.config.load import load_recipe
from tests.cli.commands import TINY, Result, warm
from tests.guide import check_in_guide


@pytest.fixture(scope="module")
def run(finished: Result, home: Path) -> Path:
    assert finished.code == 0, finished.err
    return home / finished.out.rstrip("\n")


@pytest.fixture(scope="module")
def manifest(run: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((run / "run.json").read_text())
    return data


def test_latest_names_the_run(run: Path) -> None:
    assert (run.parent / "latest").read_text() == f"{run.name}\n"


def test_the_guide_names_every_file(run: Path) -> None:
    check_in_guide(run)


def test_the_recipe_is_resolved_and_loads(run: Path, manifest: dict[str, Any]) -> None:
    recipe = load_recipe([str(run / "recipe.toml")])
    data = recipe.model_dump(mode="json")
    assert manifest["recipe"] == data
    assert recipe.run.steps == 10
    sections = {name: values for name, values in data.items() if isinstance(values, dict)}
    left = [f"{name}.{key}" for name, values in sections.items() for key in values if values[key] == "auto"]
    assert left == ["data.range"], "only what run.json stores as preprocessing, or the machine decides, stays auto"


def test_run_json_is_enough_to_repeat_the_run(manifest: dict[str, Any], images: Path, run: Path) -> None:
    assert manifest["schema"] == 1
    assert manifest["command"] == "pretrain"
    assert manifest["argv"][1:] == ["pretrain", str(images), *TINY, "--steps", "10"]
    assert manifest["status"] == "finished"
    assert manifest["inputs"] == [str(images)]
    assert re.fullmatch(r"[0-9a-f]{64}", manifest["inputs_hash"])
    assert re.fullmatch(r"[0-9a-f]{64}", manifest["weights"]["sha256"])
    assert manifest["weights"]["source"] == "none"
    assert manifest["weights"]["licence"] == "unknown"
    assert (manifest["images_listed"], manifest["images"], manifest["bad"]) == (12, 12, 0)
    assert manifest["versions"]["dinocli"] == __version__
    assert manifest["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert manifest["device"] == "cpu"
    assert manifest["seconds"] > 0
    assert manifest["outcome"]["run"] == str(run.relative_to(run.parents[1]))


def test_metrics_have_every_step_and_start_before_the_first(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["step"] == 0
    assert rows[0]["probe"]["retrieval_mrr"] > 0
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, 11))
    for key in ("loss", "entropy", "kl", "grad_norm", "lr", "momentum", "images_per_second", "data_wait"):
        assert all(isinstance(row[key], float) for row in steps), key


def test_the_views_are_a_picture(run: Path) -> None:
    with Image.open(run / "views.png") as picture:
        picture.load()
        assert picture.width > 3 * 32
        assert picture.height > 8 * 32


def test_checkpoints_load_without_running_code(run: Path) -> None:
    last = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    assert last["step"] == 10
    assert {"student", "teacher", "center", "optimizer"} <= set(last)


def test_the_backbone_loads_in_timm(run: Path, manifest: dict[str, Any]) -> None:
    model = timm.create_model(f"local-dir:{run / 'backbone'}", pretrained=True, num_classes=0)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, model.num_features)
    config = json.loads((run / "backbone" / "config.json").read_text())
    assert config["dinocli"] == manifest["preprocess"]


def test_the_report_is_self_contained(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href|url|@import)\s*[=(]?\s*["']?\s*(?:https?:)?//""", page)
    assert "<script" not in page
    assert 'src="data:image/png;base64,' in page
    assert "Keep the " in page


@pytest.fixture(scope="module")
def replacing(run: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run of one step, with labels, that replaces another run by force."""
    home = tmp_path_factory.mktemp("replacing")
    folder = shutil.copytree(run, home / "run")
    (folder / "notes.txt").write_text("mine")
    names = sorted(path.name for path in images.iterdir())
    rows = "".join(f"{name},{'ab'[number % 2]}\n" for number, name in enumerate(names))
    (home / "labels.csv").write_text("path,kind\n" + rows)
    more = ("--seed", "5", "--labels", "labels.csv", "--json")
    return home, warm(
        "pretrain", images, *TINY, "--steps", "1", "--out", "run", "--force", *more, cwd=home, replaced={}
    )


def test_force_replaces_a_run_and_keeps_files_of_the_user(replacing: tuple[Path, Result]) -> None:
    home, done = replacing
    assert done.code == 0, done.err
    assert (home / "run" / "notes.txt").read_text() == "mine"
    assert tomllib.loads((home / "run" / "recipe.toml").read_text())["run"]["seed"] == 5
    rows = [json.loads(line) for line in (home / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1], "nothing of the run of ten steps"


def test_without_force_an_existing_run_stays(run: Path, images: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    refused = warm("pretrain", images, *TINY, "--steps", "1", "--out", "run", cwd=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.splitlines()[-1].startswith("dinocli: run is not empty; add --resume")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_labels_make_a_second_table(replacing: tuple[Path, Result]) -> None:
    home, done = replacing
    assert done.code == 0, done.err
    assert [line["name"] for line in json.loads(done.out)["labelled"]] == ["k-NN accuracy, kind", "k-NN macro F1, kind"]
    assert "With your labels" in done.err
    report = (home / "run" / "report.html").read_text()
    assert "With your labels" in report
    assert "5 nearest neighbours of 12 labelled images" in report, "not of the eight of the verdict"


def test_labels_that_are_missing_are_named(images: Path, tmp_path: Path) -> None:
    missing = warm("pretrain", images, *TINY, "--labels", "nowhere.csv", cwd=tmp_path)
    assert missing.code == 3
    assert "nowhere.csv" in missing.err
