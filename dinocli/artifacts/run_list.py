"""Summaries of runs, for `dinocli runs`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dinocli.artifacts.run_folder import RUNS, RunFolder
from dinocli.errors import WeightsError


@dataclass(frozen=True)
class RunSummary:
    """A run in one line.

    Args:
        path: Run folder.
        command: Training command.
        status: running, interrupted, stopped, finished or damaged (run.json cannot be read).
        started: Local time, ISO 8601; empty if unknown.
        images: Number of readable images.
        steps: Completed steps.
        seconds: Duration of the command; 0 before the end.
        outcome: better, no different or worse; empty before the end.
        keep: Weights to keep: adapted, statistics or start; empty before the end.
        weights: Name of the start weights.
        bytes: Size of the folder.
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


def list_runs(paths: Sequence[str] = ()) -> list[RunSummary]:
    """Summarize runs, oldest first.

    Args:
        paths: Run folders, or folders that contain runs; empty: `runs`.

    Raises:
        WeightsError: A path is not a folder.
    """
    folders: dict[Path, RunFolder] = {}
    for path in map(Path, paths or [str(RUNS)]):
        if paths and not path.is_dir():
            raise WeightsError(f"{path} is not a folder: name a run, or a folder with runs")
        folders |= {folder.path.resolve(): folder for folder in _runs_in(path)}
    return sorted(map(_summary, folders.values()), key=lambda run: (run.started, str(run.path)))


def _runs_in(path: Path) -> Iterator[RunFolder]:
    if RunFolder(path).manifest.is_file():
        yield RunFolder(path)
    elif path.is_dir():
        yield from (RunFolder(child) for child in sorted(path.iterdir()) if RunFolder(child).manifest.is_file())


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
        steps=int(outcome.get("steps") or folder.completed_steps()),
        seconds=float(record.get("seconds", 0.0)),
        outcome=str(verdict.get("outcome", "")),
        keep=str(verdict.get("keep", "")),
        weights=str(record.get("weights", {}).get("name", "")),
        bytes=sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file()),
    )
