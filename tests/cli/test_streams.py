"""Contents of stdout and stderr on a terminal, in a file and in a pipe."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from dinocli.cli.render import print_json
from tests.cli.commands import RANDOM, TINY, Result, make_images, warm
from tests.forks import environment

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|38|4[0-7]|9[0-7])(?:;\d+)*m")


class Screen:
    """A terminal of 200 columns that remembers what was written to it."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.path = os.ttyname(self.theirs)

    def text(self) -> str:
        os.set_blocking(self.ours, False)
        found = b""
        try:
            while part := os.read(self.ours, 1 << 16):
                found += part
        except BlockingIOError:
            return found.decode()
        return found.decode()


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    os.close(screen.ours)
    os.close(screen.theirs)


def test_stdout_is_the_folder_of_the_run_alone(finished: Result, home: Path) -> None:
    assert finished.code == 0, finished.err
    assert re.fullmatch(r"runs/pretrain-images-\d{8}-\d{6}\n", finished.out)
    assert (home / finished.out.strip() / "report.html").is_file()


def test_stderr_has_plain_lines_and_no_bar(finished: Result) -> None:
    lines = finished.err.splitlines()
    assert "\x1b" not in finished.err
    assert "\r" not in finished.err
    assert any(re.fullmatch(r"reading images 12/12 100%  \d+\.\d s", line) for line in lines)
    assert any(re.match(r"training 10/10 100%  loss \d+\.\d+  H/lnK \d\.\d+  \d+ img/s", line) for line in lines)
    assert any(line.startswith(("Better: ", "No different: ", "Worse: ")) for line in lines)
    assert f"Keep the {'original' if 'Keep the original' in finished.err else 'adapted'} weights: runs/" in finished.err


def test_json_is_one_object_and_quiet_is_silent(images: Path, tmp_path: Path) -> None:
    done = warm("pretrain", images, *TINY, "--steps", "2", "--out", "run", "--json", "--quiet", cwd=tmp_path)
    assert done.err == ""
    assert done.out.count("\n") == 1
    data = json.loads(done.out)
    assert data["schema"] == 1
    assert data["run"] == "run"
    assert data["backbone"] == "run/backbone"
    assert data["verdict"]["outcome"] in ("better", "no different", "worse")
    assert data["verdict"]["keep"] in ("adapted", "statistics", "start")
    assert (data["steps"], data["images"], data["bad"]) == (2, 12, 0)
    keys = {"key", "name", "start", "statistics", "adapted", "teacher"}
    assert all(set(line) == keys for line in data["scores"])
    assert len(data["scores"]) >= 4


def test_warnings_and_errors_are_not_quiet(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images", 10)
    (folder / "00.png").write_bytes(b"nothing")
    done = warm("embed", folder, *RANDOM, "--size", "32", "-q", cwd=tmp_path)
    assert (done.code, done.out) == (0, "feats.npy\n")
    assert done.err.startswith("warning: 1 image cannot be read")
    assert len(done.err.splitlines()) == 1


def test_nan_becomes_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}, "name": "é\n"})
    text = capsys.readouterr().out
    assert json.loads(text) == {"schema": 1, "a": None, "b": [None, 1.5], "c": {"d": None}, "name": "é\n"}
    assert text.count("\n") == 1


def test_a_terminal_gets_a_bar_in_colour(images: Path, tmp_path: Path, screen: Screen) -> None:
    env = {"TERM": "xterm-256color"}
    done = warm("embed", images, *RANDOM, "--size", "32", cwd=tmp_path, stderr=screen.path, env=env)
    assert done.code == 0
    text = screen.text()
    assert COLOUR.search(text)
    assert "embedding" in text
    assert "12/12" in text
    assert "\x1b" not in done.out, "stdout was not a terminal"


def test_no_color_means_no_colour(images: Path, tmp_path: Path, screen: Screen) -> None:
    env = {"TERM": "xterm-256color", "NO_COLOR": "1"}
    warm("embed", images, *RANDOM, "--size", "32", cwd=tmp_path, stderr=screen.path, env=env)
    text = screen.text()
    assert "12/12" in text
    assert not COLOUR.search(text)


def test_control_characters_are_escaped_on_a_terminal_only(tmp_path: Path, screen: Screen) -> None:
    folder = make_images(tmp_path / "red\x1b[31m")
    arguments = ("pretrain", folder, *TINY, "--dry-run", "--max-bad", "0")
    piped = warm(*arguments, cwd=tmp_path)
    assert "12 images in " in piped.err
    assert "red\x1b[31m" in piped.err
    (folder / "bad\x1b]0;title\x07.png").write_bytes(b"nothing")
    shown = warm(*arguments, cwd=tmp_path, stderr=screen.path, env={"TERM": "xterm", "NO_COLOR": "1"})
    assert shown.code == 3
    text = screen.text()
    assert r"red\x1b[31m" in text
    assert r"bad\x1b]0;title\x07.png" in text
    assert "red\x1b" not in text
    assert "bad\x1b" not in text


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("command", "reader"),
    [
        ("recipe show natural", "head -1"),
        ("pretrain --help", "true"),
        pytest.param("recipe show natural", "true", marks=SLOW),
        pytest.param("recipe list --json", "head -1", marks=SLOW),
        pytest.param("recipe list --json", "true", marks=SLOW),
        pytest.param("pretrain --help", "head -1", marks=SLOW),
    ],
)
def test_a_closed_pipe_ends_quietly(command: str, reader: str) -> None:
    line = f"set -o pipefail; {sys.executable} -m dinocli {command} | {reader}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment(), timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "command",
    ["recipe list --json", "--version", *(pytest.param(word, marks=SLOW) for word in ("recipe list", "--help"))],
)
def test_a_full_stdout_is_said(command: str) -> None:
    line = f"{sys.executable} -m dinocli {command} > /dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 6
    assert done.stderr == "dinocli: [Errno 28] No space left on device; free some space\n"
