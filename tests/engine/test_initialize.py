"""All processes start with the results of the main process."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from dinocli.engine import initialize as module
from dinocli.progress import ProgressReporter
from tests.engine.learners import PREPROCESS, tiny_learner, tiny_recipe


def test_only_the_main_process_computes_and_all_get_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process: work of the main process is not done, and its tensors are received."""
    asked: list[Callable[[], Any]] = []
    arrived: list[Tensor] = []

    def receive(tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            arrived.append(tensor)
            tensor.fill_(3)

    monkeypatch.setattr(module, "from_main", asked.append)
    monkeypatch.setattr(module, "broadcast", receive)
    monkeypatch.setattr(module, "fill_center", lambda learner, *_: learner.center_K.fill_(1.0))
    learner = tiny_learner()
    recipe = tiny_recipe("model.batch_norm=adapted", "head.init=fitted", "dino.center_batches=1")
    module.initialize(learner, None, recipe, PREPROCESS, ProgressReporter())  # type: ignore[arg-type]
    assert len(asked) == 2
    held = [*learner.student.state_dict().values(), *learner.teacher.state_dict().values(), learner.center_K]
    assert len(arrived) == len(held)
    assert all(bool(torch.eq(tensor, 3).all()) for tensor in held)
