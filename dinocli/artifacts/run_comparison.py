"""Runs as `dinocli compare` reads them, their differing settings, and reasons why scores are not comparable."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocli.artifacts.run_folder import RunFolder
from dinocli.config.load import flat
from dinocli.stored import reading

_ADVICE = "name folders of runs; `dinocli runs` lists them"

_IGNORED_SETTINGS = ("run.seed", "run.threads", "run.save_every", "run.log_every", "description")
"""Settings that `differing_settings` leaves out; `cautions` covers the seed."""

_CROP_SETTINGS = ("global_scale", "ratio", "hflip", "vflip", "rot90")
"""Settings of the section `views` that the crops of the probes follow."""


@dataclass(frozen=True)
class RunScore:
    """A score before and after training.

    Args:
        name: Label in tables.
        start: Score of the start weights; None if not finite.
        adapted: Score of the adapted weights; None if not finite.
    """

    name: str
    start: float | None
    adapted: float | None


@dataclass(frozen=True)
class ComparedRun:
    """Contents of a run folder that comparisons use.

    Args:
        path: Run folder.
        command: Training command.
        argv: Command line.
        status: `finished`, `stopped`, `interrupted` or `running`.
        outcome: `better`, `no different` or `worse`; empty without a verdict.
        keep: Weights in `backbone/`: `start`, `statistics` or `adapted`; empty without a verdict.
        reason: The verdict's sentence, with its numbers.
        images: Number of readable images.
        inputs_hash: Hash of names, sizes and modification times of the images.
        start: Name and SHA-256 of the start weights.
        seed: Random seed.
        steps: Completed steps.
        seconds: Duration of the command.
        scores: Label-free scores by key; the one that decides the verdict comes first.
        labelled: Scores by the user's labels, by key.
        curve: (step, selection score) of each probe.
        settings: The resolved recipe, as nested sections.
    """

    path: Path
    command: str
    argv: tuple[str, ...]
    status: str
    outcome: str
    keep: str
    reason: str
    images: int
    inputs_hash: str
    start: tuple[str, str]
    seed: int
    steps: int
    seconds: float
    scores: Mapping[str, RunScore]
    labelled: Mapping[str, RunScore]
    curve: tuple[tuple[float, float], ...]
    settings: Mapping[str, Any]

    @property
    def selection_score(self) -> str:
        """Key of the score that decides the verdict; empty without scores."""
        return next(iter(self.scores), "")

    @property
    def measured_by(self) -> str:
        """What label-free scores are measured on besides the images: sample, crops and reading, as JSON."""
        data, views, guard = (self.settings.get(name, {}) for name in ("data", "views", "guard"))
        sample = guard.get("probe_images")
        reading = {key: value for key, value in data.items() if key not in ("cache", "workers", "max_bad")}
        crops = {key: views.get(key) for key in _CROP_SETTINGS}
        return json.dumps([self.seed, min(sample, self.images) if isinstance(sample, int) else sample, reading, crops])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data, without curve and settings."""
        keys = ("command", "status", "outcome", "keep", "reason", "images", "inputs_hash", "seed", "steps", "seconds")
        return {
            "run": str(self.path),
            **{key: getattr(self, key) for key in keys},
            "weights": {"name": self.start[0], "sha256": self.start[1]},
            "scores": {key: vars(score) for key, score in self.scores.items()},
            "labelled": {key: vars(score) for key, score in self.labelled.items()},
        }


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


def read_run(path: Path) -> ComparedRun:
    """Read a run folder, also of a run that has not ended.

    Raises:
        WeightsError: The folder is not a run, or is damaged.
    """
    folder = RunFolder(path)
    record = folder.read(_ADVICE)
    outcome: Mapping[str, Any] = record.get("outcome") or {}
    verdict: Mapping[str, Any] = outcome.get("verdict") or {}
    recipe: Mapping[str, Any] = record.get("recipe") or {}
    with reading(folder.manifest, _ADVICE):
        return ComparedRun(
            path=path,
            command=str(record.get("command", "")),
            argv=tuple(map(str, record.get("argv", ()))),
            status=str(record.get("status", "")),
            outcome=str(verdict.get("outcome", "")),
            keep=str(verdict.get("keep", "")),
            reason=str(verdict.get("reason", "")),
            images=int(record["images"]),
            inputs_hash=str(record["inputs_hash"]),
            start=(str(record["weights"]["name"] or record["weights"]["source"]), str(record["weights"]["sha256"])),
            seed=int(recipe.get("run", {}).get("seed", 0)),
            steps=int(outcome.get("steps") or folder.completed_steps()),
            seconds=float(record.get("seconds", 0.0)),
            scores=dict(_scores(outcome.get("scores", ()))),
            labelled=dict(_scores(outcome.get("labelled", ()))),
            curve=tuple(_probes(folder.metrics)),
            settings=recipe,
        )


def _scores(records: Any) -> Iterator[tuple[str, RunScore]]:
    for score in records:
        yield str(score.get("key", score["name"])), RunScore(str(score["name"]), score["start"], score["adapted"])


def _probes(path: Path) -> Iterator[tuple[float, float]]:
    """Yield step and selection score of each probe in metrics.jsonl; skip incomplete lines and a missing file."""
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                row = json.loads(text)
                yield float(row["step"]), float(row["probe"]["selection_score"])


def differing_settings(runs: Sequence[ComparedRun]) -> dict[str, list[Any]]:
    """Return the settings that differ, each with one value per run; None for a run without that setting."""
    settings_of_runs = [dict(flat(run.settings)) for run in runs]
    keys = dict.fromkeys(key for settings in settings_of_runs for key in settings)
    values = {key: [settings.get(key) for settings in settings_of_runs] for key in keys if key not in _IGNORED_SETTINGS}
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
        lambda run: run.measured_by,
        "The runs were measured on different samples, crops or readings of the images (run.seed, guard.probe_images, "
        "views or data differ): compare each with its own start, not with one another",
    ),
)
