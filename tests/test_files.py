"""Atomic writes, long file names and the home folder."""

import os
from pathlib import Path

import pytest

from dinocli.errors import UsageError
from dinocli.files import home_folder, user_path, write_atomic
from dinocli.journal import check_same


def test_write_atomic_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"something longer")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_failed_write_keeps_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_written_file_has_default_permissions(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.bin", b"")
    (tmp_path / "b.bin").touch()
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "b.bin").stat().st_mode


def test_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "none" / "a.bin", b"")


def test_file_names_of_255_bytes_are_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "ü" * 127, "日" * 85):
        write_atomic(tmp_path / name, b"data")
        assert (tmp_path / name).read_bytes() == b"data"
    assert len(os.listdir(tmp_path)) == 3


def test_home_folder_without_home_and_passwd_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    assert (user_path("~/a"), user_path("b/~")) == (Path.home() / "a", Path("b/~"))
    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert home_folder() == tmp_path / f"home-{os.getuid()}"
    assert user_path("~/a") == home_folder() / "a"
    assert user_path("~") == home_folder()
    assert user_path("~nobody-here/a") == Path("~nobody-here/a")


def test_a_resumed_command_names_what_differs_inside_a_group_of_settings() -> None:
    read = {"range": "full", "size": 224, "mean": [0.5]}
    with pytest.raises(UsageError, match=r"changed: preprocess\.size: 224 -> 64; or use --force"):
        check_same({"preprocess": read}, {"preprocess": {**read, "size": 64}}, "f.npy")
