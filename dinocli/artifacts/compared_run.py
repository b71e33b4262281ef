"""One run, as far as it is compared with others."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocli.artifacts.run_folder import RunFolder
from dinocli.stored import reading

NOT_A_RUN = "name folders of runs; `dinocli runs` lists them"


@dataclass(frozen=True)
class RunScore:
    """One score of a run.

    Args:
        name: For people.
        start: By the weights that the run began with; None where it is not a number.
        adapted: By the adapted weights.
    """

    name: str
    start: float | None
    adapted: float | None


@dataclass(frozen=True)
class ComparedRun:
    """What a run's folder says.

    Args:
        path: The folder.
        command: That made it.
        argv: Its command line.
        status: `finished`, `stopped`, `interrupted` or `running`.
        outcome: `better`, `no different` or `worse`; empty without a verdict.
        keep: Which weights `backbone/` holds; empty without a verdict.
        reason: The numbers of the verdict.
        images: Readable images.
        inputs_hash: Of the names, sizes and times of the images.
        start: Name and sha256 of the weights that it began with.
        seed: Of the run.
        steps: Done.
        seconds: Of the whole command.
        scores: Without labels, by their key; the one that decides the verdict stands first.
        labelled: By the user's labels, by their key.
        curve: (step, selection score) of each probe.
        settings: The recipe, flat.
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
        """Key of the score that decides the verdict, empty without scores."""
        return next(iter(self.scores), "")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data, without the curve and the settings."""
        plain = ("command", "status", "outcome", "keep", "reason", "images", "inputs_hash", "seed", "steps", "seconds")
        return {
            "run": str(self.path),
            **{key: getattr(self, key) for key in plain},
            "weights": {"name": self.start[0], "sha256": self.start[1]},
            "scores": {key: vars(score) for key, score in self.scores.items()},
            "labelled": {key: vars(score) for key, score in self.labelled.items()},
        }


def read_run(path: Path) -> ComparedRun:
    """Read a run's folder, whether or not it has ended.

    Args:
        path: The folder.

    Raises:
        WeightsError: It is no run, or damaged.
    """
    folder = RunFolder(path)
    found = folder.read(NOT_A_RUN)
    outcome: Mapping[str, Any] = found.get("outcome") or {}
    verdict: Mapping[str, Any] = outcome.get("verdict") or {}
    recipe: Mapping[str, Any] = found.get("recipe") or {}
    with reading(folder.manifest, NOT_A_RUN):
        return ComparedRun(
            path=path,
            command=str(found.get("command", "")),
            argv=tuple(map(str, found.get("argv", ()))),
            status=str(found.get("status", "")),
            outcome=str(verdict.get("outcome", "")),
            keep=str(verdict.get("keep", "")),
            reason=str(verdict.get("reason", "")),
            images=int(found["images"]),
            inputs_hash=str(found["inputs_hash"]),
            start=(str(found["weights"]["name"] or found["weights"]["source"]), str(found["weights"]["sha256"])),
            seed=int(recipe.get("run", {}).get("seed", 0)),
            steps=int(outcome.get("steps", 0)),
            seconds=float(found.get("seconds", 0.0)),
            scores=dict(_scores(outcome.get("scores", ()))),
            labelled=dict(_scores(outcome.get("labelled", ()))),
            curve=tuple(_probes(folder.metrics)),
            settings=recipe,
        )


def _scores(lines: Any) -> Iterator[tuple[str, RunScore]]:
    for line in lines:
        yield str(line.get("key", line["name"])), RunScore(str(line["name"]), line["start"], line["adapted"])


def _probes(path: Path) -> Iterator[tuple[float, float]]:
    """Yield step and selection score of each probe; a torn last line and a file that is not there are no probe."""
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                row = json.loads(text)
                yield float(row["step"]), float(row["probe"]["selection_score"])
