"""Comparison of runs: differing settings, and reasons why scores are not comparable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dinocli.artifacts.compared_run import ComparedRun

_IGNORED_SETTINGS = ("run.seed", "run.threads", "run.save_every", "run.log_every", "description")
"""Settings that `differing_settings` leaves out; `cautions` covers the seed."""


@dataclass(frozen=True)
class RunComparison:
    """Result of `dinocli compare`.

    Args:
        runs: In the order given.
        settings: Recipe keys whose values differ, with one value per run.
        notes: Reasons why scores are not comparable.
        report: Path of the HTML page; empty for none.
    """

    runs: list[ComparedRun]
    settings: dict[str, list[Any]]
    notes: list[str]
    report: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return {
            "runs": [run.to_dict() for run in self.runs],
            "settings": self.settings,
            "notes": self.notes,
            "report": self.report or None,
        }


def differing_settings(runs: Sequence[ComparedRun]) -> dict[str, list[Any]]:
    """Return the settings that differ, each with one value per run; None for a run without that setting."""
    flat = [dict(_flat(run.settings)) for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    values = {key: [settings.get(key) for settings in flat] for key in keys if key not in _IGNORED_SETTINGS}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def cautions(runs: Sequence[ComparedRun]) -> list[str]:
    """Return one sentence for each reason why the scores of these runs are not comparable."""
    notes = [caution for value, caution in _CAUTIONS if len({value(run) for run in runs}) > 1]
    return notes + [f"{run.path} is {run.status}: it has no verdict" for run in runs if not run.outcome]


_CAUTIONS: tuple[tuple[Callable[[ComparedRun], object], str], ...] = (
    (
        lambda run: run.inputs_hash,
        "The runs saw different images: compare each with its own start, not with one another",
    ),
    (
        lambda run: run.start,
        "The runs began with different weights: compare the adapted scores, not the changes",
    ),
    (
        lambda run: (run.seed, run.settings.get("guard", {}).get("probe_images")),
        "The runs were measured on different samples of the images (run.seed or guard.probe_images differs)",
    ),
)


def _flat(nested: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(nested, dict):
        return [(prefix, nested)]
    return [pair for key, value in nested.items() for pair in _flat(value, f"{prefix}.{key}" if prefix else str(key))]
