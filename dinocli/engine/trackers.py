"""Watching a run elsewhere: its metrics also as TensorBoard events or as an MLflow run.

Both are files in the run's folder, so that nothing leaves the machine. MLflow follows `MLFLOW_TRACKING_URI` where the
user has set it; its own usage statistics are off.
"""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from dinocli.errors import WeightsError
from dinocli.files import write_atomic

EXPERIMENT = "dinocli"
_MOST_VALUE = 500
"""Characters of a parameter that MLflow takes."""


class Tracker(Protocol):
    """Takes metrics of a run."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the finite metrics of a step."""

    def flush(self) -> None:
        """Write what was taken."""


class TensorBoardTracker:
    """Writes event files.

    Args:
        folder: Of the event files.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def flush(self) -> None:
        self._writer.flush()


class MlflowTracker:
    """Logs to one MLflow run, which a resumed run of ours continues.

    Args:
        folder: Of the database and of the number of the MLflow run.
        name: Of the run.
        parameters: Settings of the recipe.
    """

    def __init__(self, folder: Path, name: str, parameters: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        folder.mkdir(parents=True, exist_ok=True)
        self._metric, self._waiting = Metric, list[Any]()
        self._client: Any = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}")
        known = folder / "run_id"
        if known.is_file():
            self._run: str = known.read_text().strip()
            return
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        settings = [Param(key, str(value)[:_MOST_VALUE]) for key, value in parameters.items()]
        self._client.log_batch(self._run, params=settings)
        write_atomic(known, f"{self._run}\n")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._waiting += [self._metric(key, float(value), now, step) for key, value in values.items()]

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), 1000):  # as many as MLflow takes at once
            self._client.log_batch(self._run, metrics=waiting[first : first + 1000])


MODULES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}
"""Name in `run.track`, which is also that of the extra -> the module that it needs."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers whose package is not installed.

    Raises:
        WeightsError: With the command that installs it.
    """
    for name in names:
        if find_spec(MODULES[name]) is None:
            raise WeightsError(f"run.track with {name} needs a package: pip install 'dinocli[{name}]'")


def open_trackers(names: Sequence[str], folder: Path, parameters: Mapping[str, Any]) -> list[Tracker]:
    """Open the trackers of a run.

    Args:
        names: Of `run.track`.
        folder: The run's folder.
        parameters: Settings of the recipe.

    Raises:
        WeightsError: A package is missing, or a tracker cannot be opened.
    """
    check_trackers(names)
    makers: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoardTracker(folder / "tensorboard"),
        "mlflow": lambda: MlflowTracker(folder / "mlflow", folder.name, parameters),
    }
    found = []
    for name in names:
        try:
            found.append(makers[name]())
        except Exception as error:  # a foreign package, its server or a missing dependency
            raise WeightsError(f"run.track with {name} cannot be opened: {error}; leave it out or mend it") from error
    return found


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """Keep the finite numbers: trackers have no common word for the others."""
    numbers = {key: float(value) for key, value in values.items() if isinstance(value, int | float)}
    return {key: value for key, value in numbers.items() if math.isfinite(value)}
