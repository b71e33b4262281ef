"""Experiment trackers: metrics of a run as TensorBoard events or as an MLflow run.

Both write files in the run's folder, so that nothing leaves the machine. MLflow uses `MLFLOW_TRACKING_URI` if it is
set; its usage statistics are off.
"""

import logging
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
_MAX_PARAM_CHARS = 500
"""Maximum length of a parameter value in MLflow."""


class Tracker(Protocol):
    """Receives the metrics of a run."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the finite metrics of a step."""

    def flush(self) -> None:
        """Write the logged metrics."""

    def close(self, *, failed: bool) -> None:
        """End the run, also after an error; an interrupted one is not closed, since it will be resumed."""


class TensorBoardTracker:
    """Writes TensorBoard event files.

    Args:
        folder: Folder of the event files.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class MlflowTracker:
    """Logs to one MLflow run; a resumed training continues it.

    Args:
        folder: Folder of the database and of the id of the MLflow run.
        name: Name of the run.
        parameters: Settings of the recipe.
    """

    def __init__(self, folder: Path, name: str, parameters: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        if "MLFLOW_LOGGING_LEVEL" not in os.environ:  # it logs lines about its tables between those of dinocli
            logging.getLogger("mlflow").setLevel(logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self._metric, self._waiting = Metric, list[Any]()
        self._client: Any = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}")
        id_file = folder / "run_id"
        if id_file.is_file():
            self._run: str = id_file.read_text().strip()
            self._client.update_run(self._run, status="RUNNING")  # an error may have ended it
            return
        existing = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = existing.experiment_id if existing else self._client.create_experiment(EXPERIMENT)
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        settings = [Param(key, str(value)[:_MAX_PARAM_CHARS]) for key, value in parameters.items()]
        self._client.log_batch(self._run, params=settings)
        write_atomic(id_file, f"{self._run}\n")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._waiting += [self._metric(key, float(value), now, step) for key, value in values.items()]

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), 1000):  # the maximum of MLflow per call
            self._client.log_batch(self._run, metrics=waiting[first : first + 1000])

    def close(self, *, failed: bool) -> None:
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")


MODULES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}
"""Name in `run.track` and of the extra -> required module."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise `WeightsError` if the package of a tracker is not installed.

    Raises:
        WeightsError: A package is missing; names the command to install it.
    """
    for name in names:
        if find_spec(MODULES[name]) is None:
            raise WeightsError(f"run.track with {name} needs a package: pip install 'dinocli[{name}]'")


def open_trackers(names: Sequence[str], folder: Path, parameters: Mapping[str, Any]) -> list[Tracker]:
    """Open the trackers of a run.

    Args:
        names: Names in `run.track`.
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
    trackers = []
    for name in names:
        try:
            trackers.append(makers[name]())
        except Exception as error:  # any error of the package, its server or a missing dependency
            raise WeightsError(f"{name} of run.track cannot be opened: {error}; leave it out or repair it") from error
    return trackers


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers; trackers differ in how they store NaN and infinity."""
    numbers = {key: float(value) for key, value in values.items() if isinstance(value, int | float)}
    return {key: value for key, value in numbers.items() if math.isfinite(value)}
