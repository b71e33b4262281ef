"""The clock of the training loop."""

import math
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest

from dinocli.data.loader import Batch
from dinocli.engine.collapse import Row
from dinocli.engine.loop import LoopOptions, Trainer, run
from dinocli.engine.monitor import Monitor
from dinocli.progress import ProgressReporter
from tests.engine.learners import batch_of, tiny_learner

READ, WAIT = 0.5, 0.2


class Clock:
    """Moves on only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Slow:
    """A loader for which each batch takes a while."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def steps(self, first: int, last: int) -> Generator[list[Batch], None, None]:
        for step in range(first, last):
            self.clock.now += WAIT
            yield batch_of(4, seed=step)


class Reading(Monitor):
    """A monitor whose reads wait for the device."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(None, prototypes=64, batch_size=4, armed_at=100, window=1)
        self.clock = clock

    def flush(self) -> list[Row]:
        self.clock.now += READ
        return super().flush()


def test_a_read_of_the_metrics_counts_for_the_step_but_not_as_waiting_for_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr("dinocli.engine.loop.run_probe", lambda *_: None)
    monkeypatch.setattr("dinocli.engine.loop.time", clock)
    saver: Any = SimpleNamespace(due=lambda _: False, save=lambda *_: None)
    probe: Any = SimpleNamespace(images_per_measurement=0)
    loader: Any = Slow(clock)
    trainer = Trainer(tiny_learner("run.steps=3"), loader, probe, Reading(clock), saver, ProgressReporter())
    result = run(trainer, LoopOptions(0, 0.0, 100, 1, 100, True, math.inf))
    assert [row["data_wait"] for row in result.rows] == pytest.approx([WAIT] * 3)
    assert [row["seconds"] for row in result.rows] == pytest.approx([WAIT, READ + WAIT, READ + WAIT])
