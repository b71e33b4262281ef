"""Atomic writes, long file names and the home folder."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from dinocli.errors import UsageError
from dinocli.files import home_folder, user_path, with_sorted_metadata, write_atomic
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
    with pytest.raises(UsageError, match=r"changed: images \(their names, sizes or modification times\); or"):
        check_same({"images": "1f"}, {"images": "2e"}, "f.npy")


def test_equal_tensors_and_metadata_are_equal_files(tmp_path: Path) -> None:
    tensors: dict[str, NDArray[Any]] = {"b": np.arange(5, dtype=np.float32), "a": np.ones((2, 3), np.float16)}
    about = {"format": "pt", "timm_config": '{"name": "\u00e9\\n"}', **{str(number): "x" for number in range(9)}}
    drawn = {save(tensors, metadata=about) for _ in range(20)}
    assert len(drawn) > 1, "safetensors sorts them itself by now"
    (data,) = {with_sorted_metadata(data) for data in drawn}
    (tmp_path / "file.safetensors").write_bytes(data)
    with safe_open(tmp_path / "file.safetensors", "np") as file:
        assert file.metadata() == about
        assert {key: file.get_tensor(key).tolist() for key in tensors} == {k: v.tolist() for k, v in tensors.items()}
    assert with_sorted_metadata(save(tensors)) == save(tensors)
