"""Metrics of every step, and the collapse that stops a run.

The device is read rarely and in bulk: metrics stay on the device until `flush`, so that logging never synchronises.
"""

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinocli.engine.collapse import Row, best_of, feature_collapse, output_collapse
from dinocli.engine.step_schedule import StepValues
from dinocli.engine.trackers import Tracker, finite
from dinocli.errors import Interrupted
from dinocli.files import write_atomic
from dinocli.quality.defect_few_shot import DEFECT_SCORE
from dinocli.quality.probe_result import ProbeResult
from dinocli.stored import json_safe

NON_FINITE_IN_A_ROW = 3
"""Consecutive non-finite steps that stop a run."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one step in total, and of it waiting for images."""

    seconds: float
    data_wait: float


class Monitor:
    """Writes the metrics file and detects collapse.

    Entropies are stored as shares of ln K, to be comparable between numbers of prototypes.

    Args:
        path: `metrics.jsonl`, or None in processes that do not write.
        prototypes: Number of prototypes, K.
        batch_size: Images per step, B.
        armed_at: First step at which a collapse counts; before it, a new head is at ln K anyway.
        window: Steps that a collapse must last.
        extras: Names of the additional metrics of a step: additional losses, factor of the gradient scaler.
        trackers: Receive the same metrics. A tracker that fails is removed, with a message in `tracker_errors`.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        prototypes: int,
        batch_size: int,
        armed_at: int,
        window: int,
        extras: Sequence[str] = (),
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self.path, self.batch_size = path, batch_size
        self.log_k = math.log(prototypes)
        self.armed_at, self.window = armed_at, max(window, 1)
        self.extras = tuple(extras)
        self.rows: list[Row] = []
        self.probe_results: list[ProbeResult] = []
        self.stop_reason = ""
        self._pending: list[tuple[int, Tensor, StepValues, Timing]] = []
        self._uniform = self._one_hot = self._non_finite = 0
        self._trackers, self.tracker_errors = list(trackers), list[str]()

    def begin(self, start: ProbeResult) -> None:
        """Start a new metrics file with the scores of the start weights, step 0 of every curve."""
        if self.path is not None:
            self.path.write_text("")
        self.add_probe(start)

    def add(self, step: int, metrics_N: Tensor, now: StepValues, timing: Timing) -> None:
        """Add the metrics of a step, which stay on the device. `step` is the number of steps done."""
        self._pending.append((step, metrics_N, now, timing))

    def flush(self) -> list[Row]:
        """Read all pending steps from the device at once, write them, and check them for a collapse."""
        if not self._pending:
            return []
        table = torch.stack([metrics_N for _, metrics_N, _, _ in self._pending]).cpu().tolist()
        rows = [
            self._row(step, values, now, timing)
            for (step, _, now, timing), values in zip(self._pending, table, strict=True)
        ]
        self._pending.clear()
        self.rows += rows
        for row in rows:
            self._watch(row)
        self._write(rows)
        return rows

    def add_probe(self, result: ProbeResult) -> None:
        """Add a probe result; two consecutive results below the limits are a collapse."""
        self.probe_results.append(result)
        scores = {**vars(result.scores), "selection_score": result.selection_score}
        if len(result.defects_N):
            scores[DEFECT_SCORE] = result.defect_score
        self._write([{"step": result.step, "probe": scores}])
        if result.step >= self.armed_at:
            self.stop_reason = feature_collapse(self.probe_results) or self.stop_reason

    @property
    def best(self) -> ProbeResult | None:
        """The adapted probe result with the highest selection score; see `best_of`."""
        return best_of(self.probe_results)

    def stalled(self, patience: int) -> bool:
        """Return whether the selection score has not improved for `patience` steps since the guard was armed.

        Nothing has improved if no adapted result is a candidate: with `guard.stop=false` such a run would go on.
        """
        if not self.probe_results:
            return False
        improved_at = self.best.step if self.best else 0
        return self.probe_results[-1].step - max(improved_at, self.armed_at) >= patience

    @property
    def last_step(self) -> int:
        """Number of steps done and flushed."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def state(self) -> dict[str, Any]:
        """Return JSON-like data for a checkpoint; flush pending steps first."""
        return {
            "probe_results": [result.to_dict() for result in self.probe_results],
            "counts": [self._uniform, self._one_hot, self._non_finite],
        }

    def restore(self, state: dict[str, Any], step: int) -> None:
        """Restore from a checkpoint: truncate the metrics file to its step, and restore the state of the guard."""
        self.probe_results = [ProbeResult.from_dict(result) for result in state["probe_results"]]
        self._uniform, self._one_hot, self._non_finite = state["counts"]
        if self.path is not None:
            kept = [line for line in _lines(self.path) if json.loads(line)["step"] <= step]
            self.rows = [row for row in map(json.loads, kept) if "loss" in row]
            write_atomic(self.path, "".join(f"{line}\n" for line in kept))

    def _row(self, step: int, values: list[float], now: StepValues, timing: Timing) -> Row:
        loss, entropy, marginal, grad_norm, finite, *extras = values
        return {
            "step": step,
            "loss": loss,
            "entropy": entropy / self.log_k,
            "kl": loss - entropy,
            **dict(zip(self.extras, extras, strict=True)),
            "marginal_entropy": marginal / self.log_k,
            "grad_norm": grad_norm,
            "skipped": not finite,
            "lr": now.lr,
            "head_lr": now.head_lr,
            "weight_decay": now.weight_decay,
            "teacher_temp": now.teacher_temp,
            "momentum": now.momentum,
            "seconds": round(timing.seconds, 4),
            "data_wait": round(timing.data_wait, 4),
            "images_per_second": round(self.batch_size / timing.seconds, 1) if timing.seconds else 0.0,
        }

    def _watch(self, row: Row) -> None:
        finite = not row["skipped"] and math.isfinite(row["loss"])
        # A gradient scaler adapts by overflows: while its scale can still decrease, an overflow is not a failure.
        searching = row["skipped"] and math.isfinite(row["loss"]) and row.get("loss_scale", 0.0) >= 1.0
        self._non_finite = 0 if finite or searching else self._non_finite + 1
        if self._non_finite >= NON_FINITE_IN_A_ROW:
            self.stop_reason = f"{self._non_finite} steps in a row gave values that are not finite"
        armed = row["step"] > self.armed_at and finite
        kind = output_collapse(row, self.log_k) if armed else None
        self._uniform = self._uniform + 1 if kind == "uniform" else 0
        self._one_hot = self._one_hot + 1 if kind == "one-hot" else 0
        if self._uniform >= self.window:
            self.stop_reason = (
                f"the loss stays at ln K = {self.log_k:.2f}: every image gets the same uniform output "
                "(uniform collapse)"
            )
        elif self._one_hot >= self.window:
            self.stop_reason = "every image gets the same prototype (one-hot collapse)"

    def close(self, *, failed: bool = False) -> None:
        """End the run for the trackers, as failed also if the guard stopped it."""
        for tracker in self._trackers:
            with contextlib.suppress(Exception):  # all metrics are written; an unreachable server changes nothing
                tracker.close(failed=failed or bool(self.stop_reason))

    @contextlib.contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """End the run for the trackers as failed after an error in the block, not after a signal: it can be resumed."""
        try:
            yield
        except Interrupted:
            raise
        except Exception:
            self.close(failed=True)
            raise

    def _write(self, rows: list[Row]) -> None:
        if self.path is not None:
            with self.path.open("a") as file:
                file.writelines(json.dumps(json_safe(row)) + "\n" for row in rows)
        for tracker in self._trackers[:]:
            try:
                for row in rows:
                    tracker.log(row["step"], finite(_flat(row)))
                tracker.flush()
            except Exception as error:  # a tracking server that does not answer must not end the run
                self._trackers.remove(tracker)
                self.tracker_errors.append(
                    f"{type(tracker).__name__} accepts no more metrics: {error}; metrics.jsonl contains all of them"
                )


def _flat(row: Row) -> Row:
    nested = {f"probe/{key}": value for key, value in row.get("probe", {}).items()}
    return {key: value for key, value in row.items() if key not in ("step", "probe")} | nested


def _lines(path: Path) -> list[str]:
    """Return the complete lines; a partial last line, left by a kill, is dropped."""
    return [line for line in path.read_text().split("\n")[:-1] if line] if path.exists() else []
