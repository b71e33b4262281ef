import json
import os
from pathlib import Path

import numpy as np
import pytest

from dinocli.artifacts.default_features import default_features
from dinocli.errors import WeightsError
from tests.tasks.drive import Ears


def make(home: Path, run: str, file: str, time: int) -> Path:
    folder = home / "runs" / run
    folder.mkdir(parents=True)
    np.save(home / file, np.zeros((2, 2)))
    os.utime(home / file, (time, time))
    (folder / "run.json").write_text(json.dumps({"outputs": [{"kind": "features", "path": str(home / file)}]}))
    return folder


def test_the_file_of_the_newest_run_is_taken_and_a_newer_one_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "old", "old.npy", 100)
    newest = make(tmp_path, "new", "new.npy", 200)
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "run.json").write_text("{")
    (tmp_path / "runs" / "latest").write_text(f"{newest}\n")
    ears = Ears()
    assert default_features(ears) == tmp_path / "new.npy"
    assert ears.lines == [f"features: {tmp_path}/new.npy, the newest of the newest run"]
    os.utime(tmp_path / "old.npy", (300, 300))
    assert default_features(ears) == tmp_path / "new.npy"
    assert ears.lines[-1] == f"{tmp_path}/old.npy of another run is newer: name it to take it"


def test_of_one_run_the_file_that_was_written_last_is_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = make(tmp_path, "run", "b.npy", 100)
    make(tmp_path, "other", "a.npy", 200)
    outputs = [{"kind": "features", "path": str(tmp_path / name)} for name in ("a.npy", "b.npy")]
    (run / "run.json").write_text(json.dumps({"outputs": outputs}))
    (tmp_path / "runs" / "latest").write_text(f"{run}\n")
    ears = Ears()
    assert default_features(ears) == tmp_path / "a.npy"
    assert len(ears.lines) == 1
    os.utime(tmp_path / "b.npy", (200, 200))
    assert default_features(ears) == tmp_path / "b.npy", "of equal times the one named last"


def test_the_error_advises_what_the_command_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"no finished run in .*/runs: take --in$"):
        default_features(Ears(), advice="take --in")
    with pytest.raises(WeightsError, match="name a feature file"):
        default_features(Ears())
