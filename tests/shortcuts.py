"""What commands leave out where a test does not look at it: pictures, a third of a run of two steps; trial steps."""

import math
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from dinocli.engine.run_seconds import Costs
from dinocli.engine.step_memory import StepMemory


def same_memory(*_: object) -> StepMemory:
    return StepMemory(fixed=1.0, per_image=1.0, usable=1e12)


def same_costs(*_: object) -> Costs:
    return Costs(head_step=0.1, step=0.1, forward=0.001, probe_image=0.003)


FEW_PICTURES = {
    "dinocli.report.views_sheet.SHEET_IMAGES": 1,
    "dinocli.tasks.train.report_page.MIN_COMPARED_IMAGES": sys.maxsize,
}
"""The views of one image; every folder is too small for start and adapted weights side by side."""

UNMEASURED = {
    "dinocli.tasks.train.dry_run.measure_memory": same_memory,
    "dinocli.tasks.train.dry_run.measure_costs": same_costs,
}
"""For a `--dry-run` of which neither time nor memory is looked at."""


AT_ANY_SPEED = {
    f"dinocli.cli.stages.{name}": math.inf for name in ("HEARTBEAT_SECONDS", "MIN_LOGGED_SECONDS", "MIN_RATE_SECONDS")
}
"""What a command says does not depend on how long it takes."""


def replace_values(patch: pytest.MonkeyPatch, values: Mapping[str, Any]) -> None:
    """Replace values of the package by others, by their dotted names."""
    for name, value in values.items():
        patch.setattr(name, value)
