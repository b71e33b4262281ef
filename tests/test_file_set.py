import os
from pathlib import Path

import pytest

from dinocli.errors import WeightsError
from dinocli.file_locks import locked
from dinocli.file_set import read_consistent
from dinocli.files import hidden_sibling
from dinocli.journal import Journal


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A result whose commit has begun: the new file is not yet renamed."""
    monkeypatch.setitem(locked.__wrapped__.__kwdefaults__, "seconds", 0.1)  # type: ignore[attr-defined]
    path = tmp_path / "feats.npy"
    path.write_text("old")
    (tmp_path / ".feats.npy.new").write_text("new")
    Journal(hidden_sibling(path, "set")).append({"swap": [[".feats.npy.new", "feats.npy"]]})
    return path


def test_a_reader_says_that_a_result_is_being_written(target: Path) -> None:
    with locked(hidden_sibling(target, "lock"), target):
        words = rf"feats\.npy is being written by another dinocli \(process {os.getpid()} on .*\); try again"
        with pytest.raises(WeightsError, match=words):
            read_consistent(target, Path.read_text)
        assert target.read_text() == "old"


def test_a_reader_finishes_the_commit_of_a_dead_process(target: Path) -> None:
    assert read_consistent(target, Path.read_text) == "new"
    assert [path.name for path in target.parent.iterdir()] == ["feats.npy"]


def test_a_commit_that_cannot_be_finished_is_named(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dinocli.file_set.recover", fails)
    with pytest.raises(WeightsError, match=r"was left half replaced and cannot be repaired .*; make it again"):
        read_consistent(target, Path.read_text)
