"""Early end of the head warm-up, once the loss is low enough."""

import math
from collections.abc import Sequence
from typing import Any

from dinocli.engine.step_schedule import StepSchedule

DECISION_INTERVAL = 10
"""Steps between two decisions; fixed, because the step of the switch must not depend on `log_every`."""


class HeadWarmup:
    """Ends the head warm-up early when the mean loss of ten steps falls below a limit.

    It depends only on the losses, which are the same in every process and in a resumed run.

    Args:
        schedule: Schedule whose `head_warmup` is shortened.
        prototypes: Number of prototypes, K; the loss of an untrained head is ln K.
        fraction: Limit as a fraction of ln K; 0 for no early end.
    """

    def __init__(self, schedule: StepSchedule, prototypes: int, fraction: float) -> None:
        self.schedule = schedule
        self.limit = fraction * math.log(prototypes)
        self._losses: list[float] = []

    def due(self, done: int) -> bool:
        """Return whether losses must be read after `done` steps."""
        return self.limit > 0 and done < self.schedule.head_warmup and done % DECISION_INTERVAL == 0

    def update(self, losses: Sequence[tuple[int, float]]) -> None:
        """Add (steps done, loss) pairs in order; a decision applies from the next step on."""
        for done, loss in losses:
            if done >= self.schedule.head_warmup or self.limit == 0:
                return
            self._losses.append(loss)
            if done % DECISION_INTERVAL == 0:
                mean = sum(self._losses) / len(self._losses)
                self._losses.clear()
                if mean < self.limit:
                    self.schedule.head_warmup = done

    def state(self) -> dict[str, Any]:
        """Return JSON-like data for a checkpoint."""
        return {"head_warmup": self.schedule.head_warmup, "losses": [*self._losses]}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from a checkpoint."""
        self.schedule.head_warmup, self._losses = state["head_warmup"], [*state["losses"]]
