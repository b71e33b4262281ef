"""The default feature file of commands: the newest one of the newest run."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dinocli.artifacts.feature_arrays import FEATURES_KEY
from dinocli.artifacts.run_folder import RUNS, RunFolder, latest_run
from dinocli.errors import WeightsError
from dinocli.progress import ProgressReporter

_ADVICE = "name a feature file, or run `dinocli pretrain` and `dinocli embed` first"


def newest_features(advice: str = _ADVICE) -> Path:
    """Return the newest feature file made with the weights of the newest run.

    Args:
        advice: End of the error message: what the user can do.

    Raises:
        WeightsError: There is no run, or no feature file of it exists.
    """
    run = latest_run(advice)
    files = _feature_files(run.read(advice))
    if not files:
        raise WeightsError(f"no feature file was made with {run.path} yet: {advice}")
    return max(enumerate(files), key=lambda item: (_modified(item[1]), item[0]))[1]


def default_features(reporter: ProgressReporter, *, advice: str = _ADVICE) -> Path:
    """Return the newest feature file of the newest run, and report it and any newer file of another run.

    Args:
        reporter: Receives the names of the files.
        advice: End of the error message: what the user can do.

    Raises:
        WeightsError: There is no run, or no feature file of it exists.
    """
    path = newest_features(advice)
    reporter.line(f"features: {path}, the newest of the newest run")
    newer = max(_of_all_runs(), key=_modified, default=path)
    if _modified(newer) > _modified(path):
        reporter.line(f"{newer} of another run is newer: name it to take it")
    return path


def _of_all_runs() -> list[Path]:
    files: list[Path] = []
    for manifest in RUNS.glob("*/run.json"):
        # Skip foreign and damaged files.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, WeightsError):
            files += _feature_files(RunFolder(manifest.parent).read())
    return files


def _feature_files(manifest: Mapping[str, Any]) -> list[Path]:
    """Return the existing feature files of a run, oldest first."""
    paths = [Path(output["path"]) for output in manifest.get("outputs", []) if output["kind"] == FEATURES_KEY]
    return [path for path in paths if path.is_file()]


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns
