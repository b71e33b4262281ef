"""The feature file that commands take where none is named: the newest of the newest run."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dinocli.artifacts.feature_arrays import KEY
from dinocli.artifacts.run_folder import RUNS, RunFolder, latest_run
from dinocli.errors import WeightsError
from dinocli.progress import ProgressReporter

_WAYS = "name a feature file, or run `dinocli pretrain` and `dinocli embed` first"


def newest_features(ways: str = _WAYS) -> Path:
    """Return the feature file that was made last with the weights of the newest run.

    Args:
        ways: What the user can do where there is none.

    Raises:
        WeightsError: There is no run, or it has no feature file left.
    """
    run = latest_run(ways)
    there = _made_with(run.read(ways))
    if not there:
        raise WeightsError(f"no feature file was made with {run.path} yet: {ways}")
    return max(enumerate(there), key=lambda item: (_modified(item[1]), item[0]))[1]


def default_features(reporter: ProgressReporter, *, ways: str = _WAYS) -> Path:
    """Return the newest feature file of the newest run, and say so; a newer one of another run is named too.

    Args:
        reporter: Receives which file it is.
        ways: As `newest_features`.

    Raises:
        WeightsError: There is no run, or it has no feature file left.
    """
    path = newest_features(ways)
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
