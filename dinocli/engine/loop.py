"""The training loop around `train_step`: stages, probes, checkpoints, signals."""

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dinocli.data.loader import Batch, Loader
from dinocli.engine.build import set_stage
from dinocli.engine.checkpoint import Checkpointer
from dinocli.engine.collapse import Row, advice, best_of
from dinocli.engine.compilation import step_with_fallback
from dinocli.engine.distributed import any_rank, from_main
from dinocli.engine.monitor import Monitor, Timing
from dinocli.engine.probe import Probe
from dinocli.engine.signals import Signals
from dinocli.engine.step import Learner
from dinocli.engine.step_profile import ProfiledLoader
from dinocli.errors import Interrupted
from dinocli.progress import ProgressReporter
from dinocli.quality.probe_result import ProbeResult

STALLED, LATE = "the selection score did not improve for `guard.patience` of the run", "the time limit was reached"


@dataclass(frozen=True)
class LoopOptions:
    """Intervals and limits of the loop.

    Args:
        first_step: Steps done before a resume.
        seconds_before: Seconds that these steps took.
        probe_every: Steps between two probes.
        log_every: Steps between two reads of the metrics from the device.
        patience: Steps without a better probe result after which the run ends.
        guard_stops: Whether a collapse ends the run; otherwise it is a warning.
        max_seconds: Time limit: the run ends with the first step after it, plus one probe; infinite for none.
    """

    first_step: int
    seconds_before: float
    probe_every: int
    log_every: int
    patience: int
    guard_stops: bool
    max_seconds: float


@dataclass(frozen=True)
class Trainer:
    """The objects that the loop calls.

    Args:
        learner: Student, teacher, optimizer and views.
        loader: Source of the batches; `ProfiledLoader` with --profile.
        probe: Measures the teacher.
        monitor: Writes the metrics and detects collapse.
        checkpointer: Saves checkpoints.
        reporter: Receives the progress.
    """

    learner: Learner
    loader: Loader | ProfiledLoader
    probe: Probe
    monitor: Monitor
    checkpointer: Checkpointer
    reporter: ProgressReporter


@dataclass(frozen=True)
class RunResult:
    """Result of the training loop.

    Args:
        steps: Steps done.
        seconds: Time in the loop, including the time before a resume.
        rows: Metrics of every step.
        probe_results: Results of the guard's probe; the first is the start.
        stop_reason: Reason of the guard to stop the run; empty if it did not.
        early_end: Reason of a healthy run to end before its last step; empty if it did not.
    """

    steps: int
    seconds: float
    rows: list[Row]
    probe_results: list[ProbeResult]
    stop_reason: str
    early_end: str = ""

    @property
    def best(self) -> ProbeResult | None:
        """The adapted probe result with the highest selection score; None if none is finite."""
        return best_of(self.probe_results)


def run(trainer: Trainer, options: LoopOptions) -> RunResult:
    """Train until the end of the schedule, or until collapse, patience, time limit or a signal end the run.

    Args:
        trainer: Objects of the run; the learner is already restored if the run is resumed.
        options: Intervals and limits.

    Raises:
        Interrupted: After a signal and a checkpoint.
    """
    learner, monitor, checkpointer, reporter = trainer.learner, trainer.monitor, trainer.checkpointer, trainer.reporter
    steps = learner.schedule.steps
    began = time.monotonic() - options.seconds_before
    # A run that ended early and was killed before its verdict has no steps left.
    last = options.first_step if monitor.stalled(options.patience) else steps
    _resume_stage(learner, options.first_step)
    warned: set[str] = set()
    reporter.progress("training", options.first_step, steps)
    with Signals().caught() as signals, contextlib.closing(trainer.loader.steps(options.first_step, last)) as batches:
        step_began = wait_began = time.monotonic()  # the time of probes and saves belongs to no step
        for step, slices in enumerate(batches, options.first_step):
            data_wait = time.monotonic() - wait_began
            metrics_N = _step(trainer, slices, step)
            done, step_ended = step + 1, time.monotonic()
            monitor.add(done, metrics_N, learner.schedule.at(step), Timing(step_ended - step_began, data_wait))
            step_began = step_ended
            stopping = any_rank(signals.number > 0)
            late = options.max_seconds < math.inf and any_rank(time.monotonic() - began > options.max_seconds)
            probe_due = done % options.probe_every == 0 or done == steps or late
            # Collective, since clocks differ between processes. A save reads the device, so the metrics are flushed
            # before it.
            save_due = stopping or probe_due or any_rank(checkpointer.due(done))
            if save_due or done % options.log_every == 0 or learner.warmup.due(done):
                _read_metrics(trainer, done)
            else:
                reporter.progress("training", done, steps)
            if probe_due and not (monitor.stop_reason and options.guard_stops):
                run_probe(trainer, done)
                if done < steps:
                    reporter.progress("training", done, steps)
                step_began = time.monotonic()
            if monitor.stop_reason and options.guard_stops:
                break
            if monitor.stop_reason:
                _warn_once(reporter, warned, done, monitor.stop_reason)
                monitor.stop_reason = ""
            if save_due:
                checkpointer.save(learner, monitor, done, time.monotonic() - began)
                step_began = time.monotonic()
                stopping = any_rank(signals.number > 0)  # a signal may have come during a probe or a save
            if stopping:
                raise Interrupted(f"stopped by a signal after step {done} of {steps}; saved", signals.number or 15)
            if late or (probe_due and monitor.stalled(options.patience)):
                break
            wait_began = time.monotonic()  # a read of the metrics waits for the device, not for images
    monitor.close()
    early_end = ""
    if not monitor.stop_reason and monitor.last_step < steps:
        early_end = STALLED if monitor.stalled(options.patience) else LATE
    seconds = time.monotonic() - began
    return RunResult(monitor.last_step, seconds, monitor.rows, monitor.probe_results, monitor.stop_reason, early_end)


def run_probe(trainer: Trainer, step: int) -> None:
    """Measure the teacher in the main process and share the result, so that all processes decide alike."""
    trainer.reporter.stage("probing", trainer.probe.images_per_measurement)
    result = from_main(lambda: trainer.probe.measure(trainer.learner.teacher.backbone, step))
    trainer.monitor.add_probe(result)
    if trainer.monitor.best is result:
        trainer.checkpointer.save_best(trainer.learner, step)


def _resume_stage(learner: Learner, first_step: int) -> None:
    """Enter the stage of a resumed run; a switch that is due at its first step is left to the loop."""
    if first_step > learner.schedule.head_warmup and not learner.student.backbone_learns:
        set_stage(learner, backbone_learns=True)


def _step(trainer: Trainer, slices: Sequence[Batch], step: int) -> Tensor:
    """Take a training step, in the stage that begins with it; returns the metrics of `train_step`."""
    learner, backbone_learns = trainer.learner, trainer.learner.schedule.at(step).backbone_learns
    if backbone_learns != learner.student.backbone_learns:
        set_stage(learner, backbone_learns=backbone_learns)
        trainer.reporter.line(f"step {step}: head warm-up is over, the backbone trains from here on")
    return step_with_fallback(learner, slices, step, trainer.reporter.warn)


def _read_metrics(trainer: Trainer, done: int) -> None:
    """Read the metrics of the last steps from the device; report them, and let them end the head warm-up."""
    monitor, reporter = trainer.monitor, trainer.reporter
    rows = monitor.flush()
    trainer.learner.warmup.update([(row["step"], row["loss"]) for row in rows])
    mean = {key: sum(row[key] for row in rows) / len(rows) for key in ("loss", "entropy", "seconds", "data_wait")}
    speed = monitor.batch_size / mean["seconds"] if mean["seconds"] else 0.0
    detail = f"loss {mean['loss']:.2f}  H/lnK {mean['entropy']:.2f}  {speed:.0f} img/s"
    if mean["data_wait"] > 0.1 * mean["seconds"] > 0:
        detail += f"  waiting for images {mean['data_wait'] / mean['seconds']:.0%}"
    reporter.progress("training", done, trainer.learner.schedule.steps, detail)
    while monitor.tracker_errors:
        reporter.warn(monitor.tracker_errors.pop())


def _warn_once(reporter: ProgressReporter, warned: set[str], step: int, stop_reason: str) -> None:
    what = advice(stop_reason)
    if what not in warned:
        reporter.warn(f"step {step}: {stop_reason}; {what}")
    warned.add(what)
