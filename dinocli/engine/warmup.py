"""End of the head warm-up: when the loss is low enough, and at the latest when the recipe says."""

import math
from collections.abc import Sequence
from typing import Any

from dinocli.engine.step_schedule import StepSchedule

EVERY = 10
"""Steps between two decisions. Fixed, because the step of the switch must not depend on how often figures are read."""


class HeadWarmup:
    """Ends the head warm-up early when the mean loss of the last ten steps is low enough.

    It depends on the losses alone, which are the same in every process and in a resumed run.

    Args:
        plan: Whose `head_warmup` is moved.
        prototypes: K; the loss of an untrained head is ln K.
        fraction: Of ln K; a mean loss below it ends the warm-up; 0 is off.
    """

    def __init__(self, plan: StepSchedule, prototypes: int, fraction: float) -> None:
        self.plan = plan
        self.limit = fraction * math.log(prototypes)
        self._losses: list[float] = []

    def due(self, done: int) -> bool:
        """Say whether losses have to be read now: after `done` steps."""
        return self.limit > 0 and done < self.plan.head_warmup and done % EVERY == 0

    def update(self, losses: Sequence[tuple[int, float]]) -> None:
        """Take (steps done, loss) pairs in order; a decision counts from the next step on."""
        for done, loss in losses:
            if done >= self.plan.head_warmup or self.limit == 0:
                return
            self._losses.append(loss)
            if done % EVERY == 0:
                mean = sum(self._losses) / len(self._losses)
                self._losses.clear()
                if mean < self.limit:
                    self.plan.head_warmup = done

    def state(self) -> dict[str, Any]:
        """Return JSON-like data for a checkpoint."""
        return {"head_warmup": self.plan.head_warmup, "losses": [*self._losses]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint."""
        self.plan.head_warmup, self._losses = state["head_warmup"], [*state["losses"]]
