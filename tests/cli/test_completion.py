import os
from pathlib import Path

import pytest
import timm

from dinocli.cli import completion


def test_names_of_backbones_are_timms() -> None:
    assert set(completion.BACKBONES) <= set(timm.list_models(pretrained=True))


def test_recipes_and_settings_are_offered_by_their_beginning() -> None:
    assert completion.recipes("gr") == ["grey"]
    assert "optim.lr=" in completion.settings("optim.l")
    assert all(setting.startswith("run.") for setting in completion.settings("run."))


def test_runs_are_offered_newest_first_before_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("new", "old")):
        run = tmp_path / "runs" / name / "run.json"
        run.parent.mkdir(parents=True)
        run.write_text("{}")
        os.utime(run, (1e9 - age, 1e9 - age))
    assert completion.weights("") == ["runs/new", "runs/old", *completion.BACKBONES]
    assert completion.weights("runs/o") == ["runs/old"]
