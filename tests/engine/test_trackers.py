"""Experiment trackers: what is logged, that it is logged once, and that nothing leaves the machine."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dinocli.engine.monitor import Monitor, Timing
from dinocli.engine.step_schedule import StepValues
from dinocli.engine.trackers import MlflowTracker, TensorBoardTracker, check_trackers, finite, open_trackers
from dinocli.errors import DataError, Interrupted, WeightsError


class Memory:
    """Records its inputs, and fails on request."""

    def __init__(self, fails_at: int = 0) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.fails_at = fails_at

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise ConnectionError("no answer")
        self.rows.append((step, dict(values)))

    def flush(self) -> None:
        pass

    def close(self, *, failed: bool) -> None:
        self.rows.append((-1, {"failed": failed}))


def monitor_of(tmp_path: Path, *trackers: Memory) -> Monitor:
    return Monitor(tmp_path / "metrics.jsonl", prototypes=8, batch_size=4, armed_at=100, window=5, trackers=[*trackers])


def add(monitor: Monitor, step: int, loss: float) -> None:
    values = torch.tensor([loss, 1.0, 1.5, 0.3, 1.0])
    now = StepValues(**dict.fromkeys(StepValues.__dataclass_fields__, 0.0))  # type: ignore[arg-type]
    monitor.add(step, values, now, Timing(0.5, 0.1))


def test_every_step_is_given_with_its_numbers_that_are_finite(tmp_path: Path) -> None:
    memory = Memory()
    monitor = monitor_of(tmp_path, memory)
    add(monitor, 1, 2.0)
    add(monitor, 2, math.nan)
    monitor.flush()
    assert [step for step, _ in memory.rows] == [1, 2]
    assert memory.rows[0][1]["loss"] == 2.0
    assert "loss" not in memory.rows[1][1]
    assert "step" not in memory.rows[0][1]


def test_a_failing_tracker_is_dropped_and_named_once(tmp_path: Path) -> None:
    torn, whole = Memory(fails_at=2), Memory()
    monitor = monitor_of(tmp_path, torn, whole)
    for step in (1, 2, 3):
        add(monitor, step, 2.0)
        monitor.flush()
    assert [step for step, _ in torn.rows] == [1]
    assert [step for step, _ in whole.rows] == [1, 2, 3]
    assert len(monitor.tracker_errors) == 1
    assert "no answer" in monitor.tracker_errors[0]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_the_end_of_a_run_closes_its_trackers(tmp_path: Path) -> None:
    for reason in ("", "uniform collapse"):
        memory = Memory()
        monitor = monitor_of(tmp_path, memory)
        monitor.stop_reason = reason
        monitor.close()
        assert memory.rows == [(-1, {"failed": bool(reason)})]


def test_finite_keeps_numbers_only() -> None:
    assert finite({"a": 1, "b": math.inf, "c": None, "d": "x", "e": True}) == {"a": 1.0, "e": 1.0}


def test_error_names_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinocli.engine.trackers.find_spec", lambda _: None)
    check_trackers([])
    with pytest.raises(WeightsError, match=r"pip install 'dinocli\[mlflow\]'"):
        check_trackers(["mlflow"])


def test_tensorboard_events_hold_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tracker,) = open_trackers(["tensorboard"], tmp_path, {})
    assert isinstance(tracker, TensorBoardTracker)
    tracker.log(3, {"loss": 1.5})
    tracker.flush()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 1.5)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow 3.17 with SQLAlchemy 2.1
def test_an_mlflow_run_is_a_local_file_and_continues_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mlflow: Any = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    for step in (1, 2):  # the second one is opened as by a resumed run
        (tracker,) = open_trackers(["mlflow"], tmp_path / "mine", {"run.seed": 7})
        assert isinstance(tracker, MlflowTracker)
        tracker.log(step, {"loss": 2.0 / step})
        tracker.flush()
        client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mine' / 'mlflow' / 'mlflow.db'}")
        (run,) = client.search_runs([client.get_experiment_by_name("dinocli").experiment_id])
        assert run.info.status == "RUNNING"
        tracker.close(failed=step == 1)
    assert capfd.readouterr() == ("", ""), "the lines of the command stay alone"
    (run,) = client.search_runs([client.get_experiment_by_name("dinocli").experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert run.data.params == {"run.seed": "7"}
    assert [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "loss")] == [(1, 2.0), (2, 1.0)]
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


@pytest.mark.parametrize(
    ("error", "closed"),
    [
        (RuntimeError("out of memory"), [(-1, {"failed": True})]),
        (DataError("the image is gone"), [(-1, {"failed": True})]),
        (Interrupted("stopped by a signal", 15), []),  # a resumed run continues
        (KeyboardInterrupt(), []),
    ],
)
def test_an_error_ends_the_run_of_a_tracker_as_failed(
    tmp_path: Path, error: BaseException, closed: list[tuple[int, dict[str, float]]]
) -> None:
    memory = Memory()
    with pytest.raises(type(error)), monitor_of(tmp_path, memory).closed_on_failure():
        raise error
    assert memory.rows == closed
