"""The runs of a folder, one summary each, for `dinocli runs`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dinocli.artifacts.run_folder import RUNS, RunFolder
from dinocli.errors import DataError, WeightsError


@dataclass(frozen=True)
class RunSummary:
    """What is to be said of a run in a line.

    Args:
        path: Its folder.
        command: That made it.
        status: running, interrupted, stopped, finished or damaged (run.json cannot be read).
        started: Local time, ISO 8601; empty where it is not known.
        images: That could be read.
        steps: Done; 0 before the end.
        seconds: Of the whole command; 0 before the end.
        outcome: better, no different or worse; empty before the end.
        keep: Weights to keep: adapted, statistics or start; empty before the end.
        weights: That it started from.
        bytes: Of all its files.
    """

    path: Path
    command: str
    status: str
    started: str
    images: int
    steps: int
    seconds: float
    outcome: str
    keep: str
    weights: str
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self) | {"path": str(self.path)}


def list_runs(places: Sequence[str] = ()) -> list[RunSummary]:
    """Summarize the runs of some folders, oldest first.

    Args:
        places: Runs, or folders with runs in them; empty takes `runs`.

    Raises:
        DataError: A place that is not there.
    """
    folders: dict[Path, RunFolder] = {}
    for place in map(Path, places or [str(RUNS)]):
        if places and not place.is_dir():
            raise DataError(f"{place} is no folder: name a run, or a folder with runs")
        folders |= {folder.path.resolve(): folder for folder in _runs_in(place)}
    return sorted(map(_summary, folders.values()), key=lambda run: (run.started, str(run.path)))


def _runs_in(place: Path) -> Iterator[RunFolder]:
    if RunFolder(place).manifest.is_file():
        yield RunFolder(place)
    elif place.is_dir():
        yield from (RunFolder(path) for path in sorted(place.iterdir()) if RunFolder(path).manifest.is_file())


def _summary(folder: RunFolder) -> RunSummary:
    try:
        record = folder.read()
    except WeightsError:
        record = {"status": "damaged"}
    outcome = record.get("outcome") or {}
    verdict = outcome.get("verdict", {})
    return RunSummary(
        path=folder.path,
        command=str(record.get("command", "")),
        status=str(record.get("status", "")),
        started=str(record.get("started", "")),
        images=int(record.get("images", 0)),
        steps=int(outcome.get("steps", 0)),
        seconds=float(record.get("seconds", 0.0)),
        outcome=str(verdict.get("outcome", "")),
        keep=str(verdict.get("keep", "")),
        weights=str(record.get("weights", {}).get("name", "")),
        bytes=sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file()),
    )
