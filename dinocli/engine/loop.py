"""The loop around `train_step`: stages, looks at the probe set, checkpoints, signals. Returns a plain `RunResult`."""

import contextlib
import math
import time
from dataclasses import dataclass

from dinocli.data.loader import Loader
from dinocli.engine.build import set_stage
from dinocli.engine.checkpoint import Checkpointer
from dinocli.engine.distributed import any_rank, from_main
from dinocli.engine.monitor import Monitor, Row, Timing, advice, best_of
from dinocli.engine.probe import Probe, ProbeResult
from dinocli.engine.progress import ProgressReporter
from dinocli.engine.signals import Signals
from dinocli.engine.step import Learner, train_step
from dinocli.errors import Interrupted

STALLED, LATE = "nothing got better for long", "the time was up"


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Args:
        steps: Steps done.
        seconds: Time in the loop, over all its parts if it was resumed.
        rows: Figures of every step.
        looks: Looks at the probe set; the first is the start.
        trouble: Why the guard stopped the run, or empty.
        early: Why the run ended before its last step, though nothing was wrong; or empty.
    """

    steps: int
    seconds: float
    rows: list[Row]
    looks: list[ProbeResult]
    trouble: str
    early: str = ""

    @property
    def best(self) -> ProbeResult | None:
        """The adapted look with the highest score; None where no look was finite, or none was taken."""
        return best_of(self.looks)


def run(
    learner: Learner,
    loader: Loader,
    probe: Probe,
    monitor: Monitor,
    checkpointer: Checkpointer,
    reporter: ProgressReporter,
    *,
    first: int,
    seconds: float,
    look_every: int,
    log_every: int,
    guard_stops: bool,
    patience: int,
    most_seconds: float = math.inf,
) -> RunResult:
    """Train from step `first` to the plan's end, a collapse, a long time without a better look, too long, or a signal.

    Args:
        learner: What is trained, restored if `first` is not 0.
        loader: Gives the batches.
        probe: Looks at the teacher.
        monitor: Writes the figures; holds the look at the start already.
        checkpointer: Saves.
        reporter: Hears how far it is.
        first: Steps already done.
        seconds: Time that they took.
        look_every: Steps between two looks.
        log_every: Steps between two reads of the device.
        guard_stops: A collapse ends the run; otherwise it only warns, once for each kind.
        patience: Steps without a better look after which the run ends.
        most_seconds: Time of all its parts after which the run ends, with a last look; it takes one step at least.

    Raises:
        Interrupted: After a signal and a checkpoint.
    """
    steps = learner.plan.steps
    begin = time.monotonic() - seconds
    last = first if monitor.stalled(patience) else steps  # a run that had ended, and was killed before it was judged
    warned: set[str] = set()
    with Signals().caught() as signals, contextlib.closing(loader.steps(first, last)) as batches:
        asked = time.monotonic()
        for step, slices in enumerate(batches, first):
            now, got = learner.plan.at(step), time.monotonic()
            if now.backbone_learns != learner.student.backbone_learns:
                set_stage(learner, backbone_learns=now.backbone_learns)
                reporter.line(f"step {step}: the warm-up of the head is over, the backbone begins")
            stats = train_step(learner, slices, step)
            done, ended = step + 1, time.monotonic()
            monitor.add(done, stats, now, Timing(ended - asked, got - asked))
            asked = ended
            stopping = any_rank(signals.number > 0)
            late = most_seconds < math.inf and any_rank(time.monotonic() - begin > most_seconds)
            look_due = done % look_every == 0 or done == steps or late
            save_due = (
                stopping or look_due or any_rank(checkpointer.due(done))
            )  # clocks differ, and a save reads the device
            if save_due or done % log_every == 0 or learner.warmup.due(done):
                rows = monitor.flush()
                learner.warmup.hear([(row["step"], row["loss"]) for row in rows])
                _tell(reporter, rows, done, steps, time.monotonic() - begin)
            if look_due and not (monitor.trouble and guard_stops):
                look_at(learner, probe, monitor, checkpointer, done)
                asked = time.monotonic()
            if monitor.trouble and guard_stops:
                break
            if monitor.trouble:
                if advice(monitor.trouble) not in warned:
                    reporter.warn(f"step {done}: {monitor.trouble}; {advice(monitor.trouble)}")
                warned.add(advice(monitor.trouble))
                monitor.trouble = ""
            if save_due:
                checkpointer.save(learner, monitor, done, time.monotonic() - begin)
                asked = time.monotonic()
                stopping = any_rank(signals.number > 0)  # a look takes long, and ends in a save
            if stopping:
                raise Interrupted(f"stopped by a signal after step {done} of {steps}; saved", signals.number or 15)
            if late or (look_due and monitor.stalled(patience)):
                break
    early = ""
    if not monitor.trouble and monitor.last_step < steps:
        early = STALLED if monitor.stalled(patience) else LATE
    return RunResult(monitor.last_step, time.monotonic() - begin, monitor.rows, monitor.looks, monitor.trouble, early)


def look_at(learner: Learner, probe: Probe, monitor: Monitor, checkpointer: Checkpointer, step: int) -> None:
    """Measure the teacher in the main process and let all know, so that all decide the same."""
    look = from_main(lambda: probe.look(learner.teacher.backbone, step))
    monitor.add_look(look)
    if monitor.best is look:
        checkpointer.save_best(learner, step)


def _tell(reporter: ProgressReporter, rows: list[Row], step: int, steps: int, seconds: float) -> None:
    if rows:
        mean = {key: sum(row[key] for row in rows) / len(rows) for key in ("loss", "entropy", "seconds", "data_wait")}
        speed = rows[-1]["images_per_second"] * rows[-1]["seconds"] / mean["seconds"] if mean["seconds"] else 0.0
        detail = f"loss {mean['loss']:.3f}  H/lnK {mean['entropy']:.2f}  {speed:.0f} img/s"
        if mean["seconds"] and mean["data_wait"] > 0.1 * mean["seconds"]:
            detail += f"  waiting for images {mean['data_wait'] / mean['seconds']:.0%}"
        reporter.progress("training", step, steps, detail)
