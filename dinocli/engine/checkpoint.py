"""Checkpoints: tensors and JSON-like data, written atomically and read without executing code."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from dinocli.engine.monitor import Monitor
from dinocli.engine.step import Learner
from dinocli.errors import WeightsError, first_line
from dinocli.files import atomic_file
from dinocli.models.lora import folded_state
from dinocli.stored import reading


def save_checkpoint(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: after a kill, the file is either the old or the new one.

    Raises:
        OSError: Writing failed, such as a full disk; torch would raise a `RuntimeError` without the cause.
    """
    with atomic_file(path) as file:
        writer = _ErrorKeepingFile(file)
        try:
            torch.save(dict(payload), cast(IO[bytes], writer))
        except RuntimeError:
            if writer.cause is None:
                raise
            raise writer.cause from None


class _ErrorKeepingFile:
    """File wrapper that keeps the `OSError` of a failed write, which torch's writer hides."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.cause: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.cause = error
            raise

    def flush(self) -> None:
        self._file.flush()


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint of dinocli with `weights_only=True`.

    Raises:
        WeightsError: The file cannot be read.
    """
    try:
        payload: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"cannot read the checkpoint {path} ({first_line(error)}); delete it to start again"
        ) from None
    return payload


class Checkpointer:
    """Saves `last.pt`, to resume from, and `best.pt`, the best weights so far.

    Args:
        folder: Folder `checkpoints` of the run.
        every: Steps between two saves.
        minutes: Minutes between two saves; whichever comes first.
        writes: Whether this process writes; only the main process does.
    """

    def __init__(self, folder: Path, *, every: int, minutes: float, writes: bool) -> None:
        self.last, self.best = folder / "last.pt", folder / "best.pt"
        self.every, self.seconds, self.writes = every, 60 * minutes, writes
        self._saved_at = time.monotonic()

    def due(self, step: int) -> bool:
        """Return whether to save after a step."""
        return step % self.every == 0 or time.monotonic() - self._saved_at > self.seconds

    def save(self, learner: Learner, monitor: Monitor, step: int, seconds: float) -> None:
        """Save `last.pt`: all state that a bit-equal resume needs."""
        self._saved_at = time.monotonic()
        if self.writes:
            scaler = learner.updater.scaler
            payload: dict[str, Any] = {
                "step": step,
                "seconds": seconds,
                "student": learner.student.state_dict(),
                "teacher": learner.teacher.state_dict(),
                "center": learner.center_K,
                "optimizer": learner.updater.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler else {},
                "guard": monitor.state(),
                "warmup": learner.warmup.state(),
                "frozen_teacher": learner.frozen_teacher.fitted() if learner.frozen_teacher else {},
            }
            save_checkpoint(self.last, payload)

    def save_best(self, learner: Learner, step: int) -> None:
        """Save `best.pt`: the backbone of the teacher under timm's names, with LoRA merged."""
        if self.writes:
            save_checkpoint(self.best, {"step": step, "backbone": folded_state(learner.teacher.backbone)})

    def restore(self, learner: Learner, monitor: Monitor) -> tuple[int, float]:
        """Restore the learner and the monitor; return the steps done and the seconds they took."""
        payload = load_checkpoint(self.last, learner.precision.device)
        with reading(f"the checkpoint {self.last}", "delete it to start again", "used"):
            learner.student.load_state_dict(payload["student"])
            learner.teacher.load_state_dict(payload["teacher"])
            learner.center_K.copy_(payload["center"])
            learner.updater.optimizer.load_state_dict(payload["optimizer"])
            if learner.updater.scaler:
                learner.updater.scaler.load_state_dict(payload["scaler"])
            step, seconds = int(payload["step"]), float(payload["seconds"])
            monitor.restore(payload["guard"], step)
            if monitor.best and not self.best.is_file():
                raise ValueError(f"{self.best.name} beside it is missing")
            learner.warmup.restore(payload["warmup"])
            if learner.frozen_teacher:
                learner.frozen_teacher.restore(payload["frozen_teacher"])
        return step, seconds
