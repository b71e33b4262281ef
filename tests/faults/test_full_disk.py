"""A disk that is full in the middle: the old result stays whole, and the message names the file.

A limit on the size of files stands for the disk: the kernel refuses the same write calls, and no mount is needed.
"""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dinocli.artifacts.feature_file import open_features
from dinocli.artifacts.feature_formats import write_features
from dinocli.artifacts.partial_features import PartialFeatures
from dinocli.engine.checkpoint import load_checkpoint, save_checkpoint
from dinocli.tasks.segment.segment import segment
from tests.forks import FORKS
from tests.tasks.segment.discs import Unlike, disc_options, make_discs
from tests.tasks.segment.test_segment import contents


def with_limit(size: int, work: Callable[..., object], *given: Any) -> str:
    """Do some work in a process whose files may have so many bytes; return the message of its `OSError`."""
    ours, theirs = FORKS.Pipe()
    child = FORKS.Process(target=_limited, args=(theirs, size, work, given))
    child.start()
    child.join(300)
    assert ours.poll(), "it went through, or died"
    return str(ours.recv())


def _limited(pipe: Any, size: int, work: Callable[..., object], given: tuple[Any, ...]) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        work(*given)
    except OSError as error:
        pipe.send(str(error))


def embed_rows(target: Path, value: float, rows: int) -> None:
    part = PartialFeatures(target, {"value": value}, (64,), "float32", resume=False)
    part.add(np.full((rows, 64), value, np.float32), [(0, 0, 0, 0)] * rows, rows, [])
    names = [f"./{number:09}.png" for number in range(rows)]
    write_features(part, lambda: names, {"kind": "of this test", "value": value}, [], tiled=False)


@pytest.mark.parametrize(
    "suffix",
    [".npy", ".csv", *(pytest.param(name, marks=pytest.mark.slow) for name in (".npz", ".parquet", ".safetensors"))],
)
def test_replacing_features_on_a_full_disk_keeps_the_old_ones(suffix: str, tmp_path: Path) -> None:
    target = tmp_path / f"feats{suffix}"
    embed_rows(target, 1.0, 10)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for size in (100, 2000, 30_000):  # the first rows; all rows, but not their names; nearly all
        assert str(tmp_path) in with_limit(size, embed_rows, target, 2.0, 1000)
        assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert (open_features(target).rows == 1).all()
    embed_rows(target, 3.0, 20)
    assert (open_features(target).rows == 3).all()
    assert sorted(os.listdir(tmp_path)) == sorted(before)


def save(path: Path, values: int) -> None:
    save_checkpoint(path, {"student": {"weight": torch.zeros(values)}})


def test_a_checkpoint_on_a_full_disk_names_its_file_and_stays_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save(path, 10)
    for size in (100, 50_000, 300_000):
        assert with_limit(size, save, path, 100_000) == f"[Errno 27] File too large: '{path}'"
        assert load_checkpoint(path, torch.device("cpu"))["student"]["weight"].shape == (10,)
    assert os.listdir(tmp_path) == ["last.pt"]


def segment_discs(images: Path, out: Path, **more: object) -> None:
    segment(disc_options(images, out, soft=True, force=True, **more), method=Unlike())


def test_replacing_masks_on_a_full_disk_keeps_the_old_ones(tmp_path: Path) -> None:
    images = make_discs(tmp_path / "in", ("a.png", "b.png"))
    out = tmp_path / "out"
    segment_discs(images, out)
    before = contents(out)
    for size in (200, 20_000):  # the first mask; the report
        assert str(out) in with_limit(size, segment_discs, images, out)
        assert {name: data for name, data in contents(out).items() if name[0] != "."} == before
    segment(disc_options(images, out, soft=True, resume=True), method=Unlike())
    assert list(contents(out)) == list(before)
