"""Runs of `train` in processes that may be killed, alone or two at a time."""

import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from dinocli.errors import Interrupted
from dinocli.progress import ProgressReporter
from dinocli.tasks.train.train import train
from dinocli.tasks.train.train_options import TrainOptions
from tests.engine.learners import tiny_recipe
from tests.forks import FORKS, reserved_port
from tests.networks import TWO_BLOCKS
from tests.shortcuts import FEW_PICTURES, replace_values

PATIENCE = 300.0


class Ears(ProgressReporter):
    """Keeps what a command says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Shooter(ProgressReporter):
    """Sends this process a signal when the figures of a step are written, before its checkpoint is."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def progress(self, work: str, done: int, total: int, detail: str = "") -> None:
        if work == "training" and done == self.step:
            os.kill(os.getpid(), self.number)


def job(
    images: Path, out: Path, settings: Sequence[str] = (), *, labels: str = "", resume: bool = False
) -> TrainOptions:
    """Name a run, by default of the network that computes fastest."""
    recipe = tiny_recipe(f"model.name={TWO_BLOCKS}", *settings)
    return TrainOptions(inputs=(str(images),), recipe=recipe, out=str(out), device="cpu", labels=labels, resume=resume)


def _child(what: TrainOptions, rank: int, world: int, port: int, shot: tuple[int, int] | None) -> None:
    torch.set_num_threads(1)
    replace_values(pytest.MonkeyPatch(), FEW_PICTURES)
    if world > 1:
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank}
        os.environ.update({key: str(value) for key, value in where.items()})
    try:
        train(what, Shooter(*shot) if shot else None)
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signal)


def processes(what: TrainOptions, *, world: int = 1, shot: tuple[int, int] | None = None) -> list[int | None]:
    """Run a job in `world` processes; return their exit codes.

    Args:
        what: The job.
        world: Number of processes.
        shot: Step and signal: the main process sends it to itself. When it dies, the others are killed too, as
            `torchrun` does.
    """
    with reserved_port() as port:
        started: list[ForkServerProcess] = []
        for rank in range(world):
            child = FORKS.Process(target=_child, args=(what, rank, world, port, shot))
            child.start()
            started.append(child)
        started[0].join(PATIENCE)
        for child in started[1:]:
            if started[0].exitcode == -signal.SIGKILL:
                child.kill()
            child.join(PATIENCE)
    return [child.exitcode for child in started]
