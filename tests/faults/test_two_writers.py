"""Two processes, one output: the second is refused in one line, and the first one's result is whole."""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import RANDOM, TINY, Running, Shot, make_images, start_warm, warm

SMALL = (*RANDOM, "--size", "32")
AT_ONCE = {"dinocli.file_locks.locked.__wrapped__.__kwdefaults__": {"seconds": 0.0}}
"""A command that finds an output locked waits no two seconds for it."""

HELD: list[Running] = []
"""Commands that a test holds."""


@pytest.fixture(autouse=True)
def release() -> Iterator[None]:
    """Kill what a failed test still holds: a stopped process would keep pytest from ending."""
    yield
    while HELD:
        HELD.pop().process.kill()


def stopped_midway(*arguments: str | Path, cwd: Path, sign: str) -> Running:
    """Start a command, which holds itself as soon as a file is there."""
    running = start_warm(*arguments, cwd=cwd, shot=Shot(signal.SIGSTOP, sign))
    HELD.append(running)
    running.wait_until_held()
    return running


def refused(commands: Sequence[Sequence[str | Path]], output: str = "", *, cwd: Path) -> None:
    """Run commands; all are refused in one line."""
    for command in commands:
        second = warm(*command, cwd=cwd, replaced=AT_ONCE)
        assert second.code == 2, second.err
        assert len(second.err.splitlines()) == 1
        assert f"{output} is being written by another dinocli (process " in second.err


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_images(tmp_path / "images", 16)


def test_a_second_embed_of_one_output_is_refused(images: Path, tmp_path: Path) -> None:
    command = ("embed", images, *SMALL, "--batch-size", "1", "--out", "feats.npy")
    first = stopped_midway(*command, cwd=tmp_path, sign=".feats.npy.journal")
    both = ("feats.npy", "feats.csv")  # they have the same feats.json
    refused([("embed", images, *SMALL, "--out", out, "--force") for out in both], cwd=tmp_path)
    first.signal(signal.SIGCONT)
    done = first.wait()
    assert (done.code, done.out) == (0, "feats.npy\n"), done.err
    assert np.load(tmp_path / "feats.npy").shape == (16, 64)
    assert len((tmp_path / "feats.paths.txt").read_text().splitlines()) == 16
    assert not list(tmp_path.glob(".feats*"))


def test_a_second_segment_of_one_folder_is_refused(images: Path, tmp_path: Path) -> None:
    command = ("segment", images, *SMALL, "-m", "kmeans", "-k", "2", "--out", "masks")
    first = stopped_midway(*command, cwd=tmp_path, sign="masks/.segment.jsonl")
    refused([(*command, *more) for more in ((), ("--force",), ("--resume",))], "masks", cwd=tmp_path)
    first.signal(signal.SIGCONT)
    done = first.wait()
    assert (done.code, done.out) == (0, "masks\n"), done.err
    assert len(list((tmp_path / "masks" / "masks").iterdir())) == 16
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [
        *("masks", "report.html", "segment.json", "segments.csv")
    ]


def test_a_second_cluster_of_one_output_is_refused(images: Path, tmp_path: Path) -> None:
    command = (
        "cluster",
        images,
        *RANDOM,
        "-k",
        "2",
        "--batch-size",
        "1",
        "--duplicates",
        "1",
        "--link-dir",
        "groups",
    )
    first = stopped_midway(*command, cwd=tmp_path, sign=".report.html.lock")  # the last one in the order of names
    others = (("--force",), ("--out", "other.csv"), ("--out", "x/other.csv", "--report", "y.html"))  # tables, tree
    refused([(*command, *more) for more in others], cwd=tmp_path)
    first.signal(signal.SIGCONT)
    done = first.wait()
    assert (done.code, done.out) == (0, "clusters.csv\n"), done.err
    assert len((tmp_path / "clusters.csv").read_text().splitlines()) == 17
    assert len([path for path in (tmp_path / "groups").rglob("*.png")]) == 16
    visible = {path.name for path in tmp_path.iterdir()} - {"images", ".streams"}
    tables = {"clusters.csv", "duplicates.csv", "duplicate_groups.csv", "issues.csv"}
    assert visible == {*tables, "report.html", "groups"}


@pytest.mark.slow
def test_a_second_run_of_one_folder_is_refused(images: Path, tmp_path: Path) -> None:
    command = ("pretrain", images, *TINY, "--steps", "4", "--out", "run")
    first = stopped_midway(*command, cwd=tmp_path, sign="run/.lock")
    refused([(*command, *more) for more in ((), ("--force",), ("--resume",))], "run", cwd=tmp_path)
    first.signal(signal.SIGCONT)
    assert first.wait().code == 0
    assert (tmp_path / "run" / "report.html").is_file()
    assert not (tmp_path / "run" / ".lock").exists()


def test_an_output_that_cannot_be_written_is_said_before_any_work(images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    commands = (
        ("embed", images, *SMALL, "--out", "file/feats.npy"),
        ("segment", images, *SMALL, "--out", "file/masks"),
        ("pretrain", images, *TINY, "--out", "file/run"),
        ("cluster", images, *RANDOM, "--out", "file/clusters.csv"),
    )
    for command in commands:
        done = warm(*command, cwd=tmp_path)
        assert (done.code, done.out) == (6, ""), done.err
        assert len(done.err.splitlines()) == 1, "no image was read"
        assert "file" in done.err


def test_a_killed_writer_holds_nothing(images: Path, tmp_path: Path) -> None:
    command = ("embed", images, *SMALL, "--batch-size", "1", "--out", "feats.npy")
    first = stopped_midway(*command, cwd=tmp_path, sign=".feats.npy.journal")
    first.signal(signal.SIGKILL)
    first.process.join()
    assert warm(*command, cwd=tmp_path).code == 0
    assert np.load(tmp_path / "feats.npy").shape == (16, 64)
    assert not list(tmp_path.glob(".feats*"))
