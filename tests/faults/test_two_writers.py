"""Two processes, one output: the second is refused in one line, and the first one's result is whole."""

import signal
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import Running, make_images, start_warm, warm

TINY = ("--weights", "none", "--model", "test_convnext", "--size", "32", "--device", "cpu", "--workers", "0")


def stopped_midway(*arguments: str | Path, cwd: Path, sign: str) -> Running:
    """Start a command, and hold it as soon as a file is there."""
    running = start_warm(*arguments, cwd=cwd)
    running.wait_for(cwd / sign)
    running.signal(signal.SIGSTOP)
    return running


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_images(tmp_path / "images", 40)


def test_two_embeds(images: Path, tmp_path: Path) -> None:
    command = ("embed", images, *TINY, "--batch-size", "1", "--out", "feats.npy")
    first = stopped_midway(*command, cwd=tmp_path, sign=".feats.npy.journal")
    for out in ("feats.npy", "feats.csv"):  # both have the same feats.json
        second = warm("embed", images, *TINY, "--out", out, "--force", cwd=tmp_path)
        assert second.code == 2, second.err
        assert len(second.err.splitlines()) == 1
        assert "is being written by another dinocli (process " in second.err
    first.signal(signal.SIGCONT)
    done = first.wait()
    assert (done.code, done.out) == (0, "feats.npy\n"), done.err
    assert np.load(tmp_path / "feats.npy").shape == (40, 64)
    assert len((tmp_path / "feats.paths.txt").read_text().splitlines()) == 40
    assert not list(tmp_path.glob(".feats*"))


def test_a_killed_writer_holds_nothing(images: Path, tmp_path: Path) -> None:
    command = ("embed", images, *TINY, "--batch-size", "1", "--out", "feats.npy")
    first = stopped_midway(*command, cwd=tmp_path, sign=".feats.npy.journal")
    first.signal(signal.SIGKILL)
    first.process.join()
    assert warm(*command, cwd=tmp_path).code == 0
    assert np.load(tmp_path / "feats.npy").shape == (40, 64)
    assert not list(tmp_path.glob(".feats*"))
