"""Run `dinocli` as a user's shell does: a process of its own, stdout and stderr apart, an exit code.

Loading torch takes longer than a tiny training run. So there are two ways: `dinocli` starts a fresh interpreter; `warm`
forks from a process that has torch loaded already. Both end in the same `main`, with real files and real signals.
A fork takes a tenth of a second: what is refused, or writes nothing, can run `in_process`.
"""

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, chdir
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dinocli.cli.app import app
from tests.forks import FORKS, environment
from tests.networks import FOUR_BLOCKS, TWO_BLOCKS
from tests.shortcuts import AT_ANY_SPEED, FEW_PICTURES, replace_values

TINY = (
    *("--weights", "none", "--model", TWO_BLOCKS, "--recipe", "grey"),
    *("--device", "cpu", "--workers", "0", "--cache", "off", "--batch-size", "4"),
    *("-s", "data.short_side=32", "-s", "views.global_size=32", "-s", "views.local_size=32"),
    *("-s", "views.local_count=1", "-s", "head.out_dim=64", "-s", "head.hidden_dim=32", "-s", "head.bottleneck_dim=16"),
    *("-s", "guard.probe_images=8", "-s", "guard.every=1", "-s", "run.precision=fp32", "-s", "run.attention=fused"),
)
"""A whole run of ten steps in about a second, once torch is loaded."""
RANDOM = ("--weights", "none", "--model", FOUR_BLOCKS, "--device", "cpu", "--workers", "0")
"""Random weights, for commands that only need some."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


def dinocli(
    *arguments: str | Path, cwd: Path | None = None, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> Result:
    """Run `python -m dinocli ARGUMENTS` in a fresh interpreter."""
    command = [sys.executable, "-m", "dinocli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, env=environment(env), timeout=300)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass
class Shot:
    """A signal that a command sends to itself: one from here would come too late on a busy machine.

    Args:
        number: The signal.
        sign: A pattern of files below its working folder. The command gets the signal as soon as one of them holds
            something, when it opens its next file.
        words: What the file has to hold.
    """

    number: int
    sign: str
    words: str = ""
    waiting: bool = True

    def hook(self, event: str, _: tuple[object, ...]) -> None:
        if event == "open" and self.waiting:
            self.waiting = False  # to look opens files, too
            found = [path for path in Path().glob(self.sign) if path.stat().st_size]
            self.waiting = not any(not self.words or self.words in path.read_text() for path in found)
            if not self.waiting:
                os.kill(os.getpid(), self.number)


def warm(
    *arguments: str | Path,
    cwd: Path,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    stdout: str = "",
    stderr: str = "",
    replaced: Mapping[str, Any] = FEW_PICTURES,
    shot: Shot | None = None,
) -> Result:
    """Run `dinocli ARGUMENTS` in a process that has torch already.

    Args:
        arguments: The command line.
        cwd: Where; the streams are kept in files below it.
        stdin: What it can read.
        env: More environment, for what is read late. PYTHON is what the command takes for its interpreter.
        stdout: A device to write to instead of a file, such as a terminal.
        stderr: Likewise.
        replaced: Values of the package that the command finds replaced, by name. A run draws few pictures.
        shot: A signal that the command sends to itself.
    """
    return start_warm(
        *arguments, cwd=cwd, stdin=stdin, env=env, stdout=stdout, stderr=stderr, replaced=replaced, shot=shot
    ).wait()


def in_process(*arguments: str | Path, cwd: Path, stdin: bytes = b"") -> Result:
    """Run `dinocli ARGUMENTS` in this process: something that is refused, or that writes nothing."""
    with chdir(cwd):
        done = CliRunner().invoke(app, [*map(str, arguments)], input=stdin)
    return Result(done.exit_code, done.stdout, done.stderr)


class Running:
    """A command that may still run."""

    def __init__(self, process: BaseProcess, out: Path, err: Path) -> None:
        self.process, self.out, self.err = process, out, err

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait_until_held(self) -> None:
        """Wait until a SIGSTOP holds the process."""
        limit = time.monotonic() + 60
        while Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert self.process.is_alive(), self.err.read_text()
            assert time.monotonic() < limit, f"it never came so far: {self.err.read_text()}"
            time.sleep(0.01)

    def wait(self, seconds: float = 300) -> Result:
        self.process.join(seconds)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise AssertionError(f"still running after {seconds:.0f} s: {self.err.read_text()}")
        texts = [path.read_text() if path.is_file() else "" for path in (self.out, self.err)]
        return Result(code, *texts)


def start_warm(
    *arguments: str | Path,
    cwd: Path,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    stdout: str = "",
    stderr: str = "",
    replaced: Mapping[str, Any] = FEW_PICTURES,
    shot: Shot | None = None,
) -> Running:
    """Start a command as `warm` does, and come back at once."""
    streams = cwd / ".streams"
    streams.mkdir(exist_ok=True)
    number = len(list(streams.iterdir()))
    (streams / f"{number}.in").write_bytes(stdin)
    out, err = Path(stdout or streams / f"{number}.out"), Path(stderr or streams / f"{number}.err")
    paths = (str(cwd), str(streams / f"{number}.in"), str(out), str(err))
    given = (list(map(str, arguments)), *paths, environment(env), dict(replaced), shot)
    process = FORKS.Process(target=_child, args=given)
    process.start()
    return Running(process, out, err)


def _child(
    arguments: list[str],
    cwd: str,
    stdin: str,
    out: str,
    err: str,
    env: dict[str, str],
    replaced: dict[str, Any],
    shot: Shot | None,
) -> None:
    from dinocli import files
    from dinocli.cli.app import main

    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # the fork server has asked for it already
    os.chdir(cwd)
    with ExitStack() as opened:
        for path, mode, target in ((out, "wb", 1), (err, "wb", 2)):
            os.dup2(opened.enter_context(open(path, mode)).fileno(), target)
    sys.stdin = io.TextIOWrapper(open(stdin, "rb"))  # noqa: SIM115
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    sys.argv, sys.executable = ["dinocli", *arguments], env.get("PYTHON", sys.executable)
    replace_values(pytest.MonkeyPatch(), {**AT_ANY_SPEED, **replaced})
    if shot:
        sys.addaudithook(shot.hook)
    try:
        main()
    finally:
        files._until_exit.close()  # a forked child runs no exit handlers


def make_images(
    folder: Path, count: int = 12, names: list[str] | None = None, size: tuple[int, int] = (40, 48)
) -> Path:
    """Write small grey images of noise; by default 00.png, 01.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0)
    for name in names or [f"{number:02}.png" for number in range(count)]:
        Image.fromarray(pixels.integers(0, 256, (40, 48), dtype=np.uint8)).save(folder / name, format="png")
    return folder
