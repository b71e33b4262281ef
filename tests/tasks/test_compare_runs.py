"""Runs side by side, from folders as runs leave them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dinocli.config.load import load_recipe
from dinocli.errors import UsageError, WeightsError
from dinocli.report.comparison_page import lead
from dinocli.tasks.compare_runs import compare_runs
from tests.report.test_page import Page


def leave_run(
    folder: Path, adapted: float, *settings: str, outcome: str = "better", accuracy: float | None = 0.8, **more: Any
) -> str:
    """Leave what a finished run does, as far as it is read."""
    folder.mkdir(parents=True)
    line = {"statistics": None}
    scores = [
        line | {"key": "crop_quadrant_retrieval", "name": "retrieval (0 is best)", "start": -3.0, "adapted": adapted}
    ]
    labelled = [
        line | {"key": "knn20_accuracy/folder", "name": "k-NN accuracy, folder", "start": 0.7, "adapted": accuracy}
    ]
    ended = {
        "verdict": {"outcome": outcome, "keep": "start" if outcome == "worse" else "adapted", "reason": "Because."},
        "scores": scores,
        "labelled": labelled if accuracy else [],
        "steps": 20,
    }
    manifest = {
        "schema": 1,
        "command": "pretrain",
        "argv": ["dinocli", "pretrain", "./my images"],
        "status": "finished",
        "images": 24,
        "inputs_hash": "abc",
        "weights": {"name": "test_convnext", "sha256": "5" * 64},
        "recipe": load_recipe([], list(settings)).model_dump(mode="json"),
        "seconds": 90.0,
        "outcome": ended,
    }
    (folder / "run.json").write_text(json.dumps(manifest | more))
    rows = [{"step": step, "probe": {"selection_score": -3 + step / 10}} for step in (0, 10, 20)]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [{"step": 1}, *rows]) + '{"step": 2'
    )
    return str(folder)


def test_differing_settings_and_the_best_run_are_named(tmp_path: Path) -> None:
    one = leave_run(tmp_path / "one", -2.5, "optim.lr=1e-4", accuracy=0.81)
    other = leave_run(tmp_path / "other", -2.0, "optim.lr=1e-3", outcome="worse", accuracy=0.79)
    found = compare_runs((one, other))
    assert found.settings == {"optim.lr": [1e-4, 1e-3]}
    assert found.notes == []
    assert lead(found) == "one has the highest k-NN accuracy, folder: 0.810."
    assert found.runs[0].curve == ((0.0, -3.0), (10.0, -2.0), (20.0, -1.0)), "a torn last line is not a probe"
    data = found.to_dict()["runs"][1]
    assert (data["outcome"], data["keep"], data["scores"]["crop_quadrant_retrieval"]["adapted"]) == (
        "worse",
        "start",
        -2,
    )
    json.dumps(found.to_dict())
    without = replace(found, runs=[replace(run, labelled={}) for run in found.runs])
    assert lead(without) == "other has the highest retrieval (0 is best): -2.000."
    equal = replace(without, runs=[replace(run, scores=without.runs[0].scores) for run in without.runs])
    assert lead(equal) == "one and other have the same retrieval (0 is best): -2.500."
    taught = replace(without.runs[0], scores={"teacher_neighbours": found.runs[0].scores["crop_quadrant_retrieval"]})
    assert lead(replace(without, runs=[taught, without.runs[1]])) == "These runs have no score in common."


def test_incomparable_runs_are_noted(tmp_path: Path) -> None:
    one = leave_run(tmp_path / "one", -2.5)
    images = leave_run(tmp_path / "images", -2.5, inputs_hash="xyz")
    start = leave_run(tmp_path / "start", -2.5, weights={"name": "other", "sha256": "6" * 64})
    seed = leave_run(tmp_path / "seed", -2.5, "run.seed=7")
    crops = leave_run(tmp_path / "crops", -2.5, "views.global_scale=[0.9,1]")
    others = ((images, "different images"), (start, "different weights"), (seed, "samples, crops"), (crops, "views"))
    for other, word in others:
        (note,) = compare_runs((one, other)).notes
        assert word in note
    assert "no run comes first" in lead(compare_runs((one, images)))
    assert "no run comes first" in lead(compare_runs((one, seed)))
    unlabelled = [leave_run(tmp_path / name, -2.5, setting, accuracy=None) for name, setting in SAMPLES.items()]
    assert "not measured alike" in lead(compare_runs((unlabelled[0], unlabelled[1])))
    assert "have the same" in lead(compare_runs((unlabelled[1], unlabelled[2]))), "all 24 images"
    assert "k-NN" in lead(compare_runs((one, crops))), "labels are measured on whole images"


SAMPLES = {f"probe{count}": f"guard.probe_images={count}" for count in (10, 100, 200)}


def test_a_run_that_has_not_ended_is_shown_without_a_verdict(tmp_path: Path) -> None:
    one = leave_run(tmp_path / "one", -2.5)
    going = Path(leave_run(tmp_path / "going", -2.5))
    manifest = json.loads((going / "run.json").read_text()) | {"status": "interrupted", "outcome": None}
    (going / "run.json").write_text(json.dumps(manifest))
    (going / "metrics.jsonl").unlink()
    found = compare_runs((one, str(going)), report=str(tmp_path / "page.html"))
    assert found.notes == [f"{going} is interrupted: it has no verdict"]
    assert lead(found) == "There are no two runs with scores to compare."
    assert "interrupted" in Page((tmp_path / "page.html").read_text()).text


def test_the_page_has_everything(tmp_path: Path) -> None:
    runs = tuple(leave_run(tmp_path / f"run{n}", -2.5 + n / 10, f"run.steps={10 + n}") for n in range(6))
    page = tmp_path / "page.html"
    compare_runs(runs, report=str(page))
    seen = Page(page.read_text())
    assert not seen.open
    assert {"6 of 6 better", "run5", "-2.000", "run.steps", "15", "dinocli pretrain './my images'"} <= set(seen.text)
    assert sum(text == "Selection score of the guard" for text in seen.text) == 2, "four runs a chart"
    with pytest.raises(UsageError, match="--force"):
        compare_runs(runs, report=str(page))
    compare_runs(runs[:2], report=str(page), force=True)
    assert "2 of 2 better" in Page(page.read_text()).text


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = (leave_run(tmp_path / "a" / "run", -2.5), leave_run(tmp_path / "b" / "run", -2.4))
    compare_runs(runs, report=str(tmp_path / "page.html"))
    text = Page((tmp_path / "page.html").read_text()).text
    assert any(word.endswith("/a/run") for word in text)
    assert any(word.endswith("/b/run") for word in text)


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(WeightsError, match=r"run\.json"):
        compare_runs((str(tmp_path / "images"),))
    damaged = Path(leave_run(tmp_path / "damaged", -2.5))
    (damaged / "run.json").write_text('{"images": "many"}')
    with pytest.raises(WeightsError, match="damaged"):
        compare_runs((str(damaged),))
    with pytest.raises(UsageError, match="name the folders"):
        compare_runs(())


def test_a_run_that_keeps_batch_norm_statistics_can_be_read(tmp_path: Path) -> None:
    folder = Path(leave_run(tmp_path / "run", -2.5))
    manifest = json.loads((folder / "run.json").read_text())
    manifest["outcome"]["verdict"]["keep"] = "statistics"
    (folder / "run.json").write_text(json.dumps(manifest))
    assert compare_runs((str(folder),)).runs[0].keep == "statistics"
