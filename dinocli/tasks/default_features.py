"""The feature file that a command takes where none is named, and what the user hears of the choice."""

from pathlib import Path

from dinocli.engine.progress import ProgressReporter
from dinocli.errors import WeightsError
from dinocli.tasks.feature_file import KEY, newest_features
from dinocli.tasks.run_folder import RUNS, RunFolder


def default_features(reporter: ProgressReporter, *, ways: str = "") -> Path:
    """Return the newest feature file of the newest run, and say so; a newer one of another run is named too.

    Args:
        reporter: Is told which file it is.
        ways: What the user can do instead, for the message where there is none.

    Raises:
        WeightsError: There is no run, or no feature file of it is left.
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
        try:
            outputs = RunFolder(manifest.parent).read().get("outputs", [])
            found += [Path(output["path"]) for output in outputs if output["kind"] == KEY]
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            WeightsError,
        ):  # somebody else's file, or a torn one
            continue
    return [path for path in found if path.is_file()]


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns
