import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from dinocli.engine import costs
from dinocli.engine.costs import TIMED_SLICES, measure_costs
from tests.engine.learners import PREPROCESS, tiny_learner, tiny_recipe

SECONDS_PER_SLICE = 0.01


@dataclass
class SlicedLoader:
    slices: int

    def steps(self, first: int, last: int) -> Iterator[Sequence[int]]:
        for _ in range(first, last):
            yield range(self.slices)


@pytest.mark.parametrize("slices", [1, TIMED_SLICES, 50 * TIMED_SLICES])
def test_a_step_of_many_slices_is_timed_by_some_of_them(slices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def train_step(_: Any, batches: Sequence[int], __: int) -> torch.Tensor:
        timed.append(len(batches))
        time.sleep(SECONDS_PER_SLICE * len(batches))
        return torch.zeros(1)

    monkeypatch.setattr(costs, "train_step", train_step)
    monkeypatch.setattr(costs, "seconds_per_forward", lambda *_: 0.1)
    learner = tiny_learner()
    found = measure_costs(learner, SlicedLoader(slices), tiny_recipe(), learner.student.backbone, PREPROCESS)  # type: ignore[arg-type]
    assert set(timed) == {min(slices, TIMED_SLICES)}
    assert found.step >= SECONDS_PER_SLICE * slices * 0.99
    assert found.step < SECONDS_PER_SLICE * slices * 5, "sleep is late on a busy machine, but not by that much"
