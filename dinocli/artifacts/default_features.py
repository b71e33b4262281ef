"""The feature file that commands take where none is named: the newest of the newest run."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dinocli.artifacts.feature_arrays import KEY
from dinocli.artifacts.run_folder import RUNS, RunFolder, latest_run
from dinocli.errors import WeightsError
from dinocli.progress import ProgressReporter


def newest_features() -> Path:
    """Return the feature file that was made last with the weights of the newest run.

    Raises:
        WeightsError: There is no run, or it has no feature file left.
    """
    run = latest_run("name a feature file, or run `dinocli pretrain` and `dinocli embed` first")
    there = _made_with(run.read())
    if not there:
        raise WeightsError(f"no feature file was made with {run.path} yet: run `dinocli embed`, or name a file")
    return max(enumerate(there), key=lambda item: (_modified(item[1]), item[0]))[1]


def default_features(reporter: ProgressReporter, *, ways: str = "") -> Path:
    """Return the newest feature file of the newest run, and say so; a newer one of another run is named too.

    Args:
        reporter: Receives which file it is.
        ways: What the user can do instead, for the message where there is none.

    Raises:
        WeightsError: There is no run, or it has no feature file left.
    """
    try:
        path = newest_features()
    except WeightsError as error:
        reason, _, usual = str(error).rpartition(": ")
        raise WeightsError(f"{reason or str(error)}: {ways or usual}") from None
    reporter.line(f"features: {path}, the newest of the newest run")
    newer = max(_of_all_runs(), key=_modified, default=path)
    if _modified(newer) > _modified(path):
        reporter.line(f"{newer} of another run is newer: name it to take it")
    return path


def _of_all_runs() -> list[Path]:
    found: list[Path] = []
    for manifest in RUNS.glob("*/run.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, WeightsError):
            found += _made_with(RunFolder(manifest.parent).read())  # else a foreign file, or a torn one
    return found


def _made_with(manifest: Mapping[str, Any]) -> list[Path]:
    """Return the feature files of a run that are still there, in the order in which they were made."""
    made = [Path(output["path"]) for output in manifest.get("outputs", []) if output["kind"] == KEY]
    return [path for path in made if path.is_file()]


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns
