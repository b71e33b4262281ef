"""The clock of the training loop."""

import math
import time
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

READ, WAIT = 0.05, 0.02


class Slow:
    """A loader for which each batch takes a while."""

    def steps(self, first: int, last: int) -> Generator[list[Batch], None, None]:
        for step in range(first, last):
            time.sleep(WAIT)
            yield batch_of(4, seed=step)


class Reading(Monitor):
    """A monitor whose reads wait for the device."""

    def flush(self) -> list[Row]:
        time.sleep(READ)
        return super().flush()


def test_a_read_of_the_metrics_counts_for_the_step_but_not_as_waiting_for_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dinocli.engine.loop.run_probe", lambda *_: None)
    monitor = Reading(None, prototypes=64, batch_size=4, armed_at=100, window=1)
    saver: Any = SimpleNamespace(due=lambda _: False, save=lambda *_: None)
    probe: Any = SimpleNamespace(images_per_measurement=0)
    loader: Any = Slow()
    trainer = Trainer(tiny_learner("run.steps=3"), loader, probe, monitor, saver, ProgressReporter())
    result = run(trainer, LoopOptions(0, 0.0, 100, 1, 100, True, math.inf))
    for row in result.rows[1:]:
        assert WAIT <= row["data_wait"] + 1e-3 < READ
        assert row["seconds"] > READ + WAIT - 2e-3
