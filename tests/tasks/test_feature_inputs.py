import json
import os
from pathlib import Path

import numpy as np
import pytest

from dinocli.artifacts.default_features import default_features
from dinocli.errors import UsageError, WeightsError
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.feature_inputs import is_features, takes_features
from dinocli.tasks.inputs import ReadOptions
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


def test_the_ways_out_are_those_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"no finished run in .*/runs: take --in$"):
        default_features(Ears(), ways="take --in")
    with pytest.raises(WeightsError, match="name a feature file"):
        default_features(Ears())


def test_feature_files_are_told_from_images_lists_and_folders(tmp_path: Path) -> None:
    (tmp_path / "images.npy").mkdir()
    for name in ("feats.npy", "FEATS.NPZ", "a/f.csv", "f.parquet", "f.safetensors"):
        assert is_features(name), name
    for name in ("@list.csv", "images", "a.png", "-", "*.png", str(tmp_path / "images.npy")):
        assert not is_features(name), name


@pytest.mark.parametrize("options", [ClusterOptions, EvaluateOptions])
def test_options_of_images_beside_a_feature_file_are_refused(options: type[ClusterOptions | EvaluateOptions]) -> None:
    assert takes_features(options())
    assert takes_features(options(("f.npy",)))
    assert not takes_features(options(("images",)))
    assert not takes_features(options(("@list.csv",)))
    assert not takes_features(options(weights="runs/mine"))  # the images of the newest run, with these weights
    with pytest.raises(UsageError, match=r"one feature file, or images, not both: a\.npy images"):
        takes_features(options(("a.npy", "images")))
    with pytest.raises(UsageError, match=r"--weights, --range, --batch-size cannot change the features in a\.npy"):
        takes_features(options(("a.npy",), weights="w", read=ReadOptions(range="full"), batch_size=3))
