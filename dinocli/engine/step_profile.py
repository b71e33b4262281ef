"""Where the time of a training step goes: named ranges of torch's profiler, as a table and a Chrome trace."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from dinocli.data.loader import Batch, Loader
from dinocli.files import atomic_file
from dinocli.progress import ProgressReporter

PROFILE = "profile.json"
"""Chrome trace in the folder of a run; for Perfetto or chrome://tracing."""

WAIT = "wait for images"
PARTS = (
    *(WAIT, "multi-crop", "crop", "photometric", "teacher", "student", "loss", "backward"),
    *("optimizer", "average"),
)
"""Ranges of a step, in its order; crop and photometric are parts of the multi-crop."""

_INNER = ("crop", "photometric")
_WAITED, _WARM, STEPS = 2, 1, 10  # the first steps allocate and choose kernels


class ProfiledLoader:
    """Gives the batches of a loader, and profiles ten of the steps between them, after the third.

    Args:
        loader: Source of the batches.
        trace: Where the Chrome trace is written; None writes none.
        reporter: Is told the table.

    Attributes:
        seconds: A step of each part, by name, of the device where it is a GPU; empty before the profile has ended.
    """

    def __init__(self, loader: Loader, trace: Path | None, reporter: ProgressReporter) -> None:
        self.loader, self.trace, self.reporter = loader, trace, reporter
        self.seconds: dict[str, float] = {}

    def steps(self, first: int, last: int) -> Generator[list[Batch], None, None]:
        """Yield the slices of steps first to last - 1, as the loader does."""
        activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * torch.cuda.is_available()]
        plan = schedule(wait=_WAITED, warmup=_WARM, active=STEPS, repeat=1)
        if last - first <= _WAITED + _WARM:
            self.reporter.warn(f"--profile looks at steps after the first {_WAITED + _WARM}: there are none")
        with (
            profile(activities=activities, schedule=plan, on_trace_ready=self._report) as profiler,
            closing(self.loader.steps(first, last)) as batches,
        ):
            for step in range(first, last):
                if step > first:
                    profiler.step()
                with record_function(WAIT):
                    slices = next(batches)
                yield slices

    def _report(self, profiler: profile) -> None:
        if self.trace:
            with atomic_file(self.trace) as file:
                profiler.export_chrome_trace(file.name)
        found = {event.key: event for event in profiler.key_averages()}
        whole = found["ProfilerStep*"]
        on_device = any(event.device_time_total for event in found.values())
        times = {name: found[name].device_time_total if on_device else found[name].cpu_time_total for name in PARTS}
        self.seconds = {name: value / whole.count / 1e6 for name, value in times.items()}
        for line in step_table({name: event.cpu_time_total for name, event in found.items()}, whole.count):
            self.reporter.line(line)
        if on_device:
            self.reporter.line("time on the device:")
            for line in step_table({name: event.device_time_total for name, event in found.items()}, whole.count):
                self.reporter.line(line)
        if self.trace:
            self.reporter.line(f"trace: {self.trace}; open it in Perfetto or chrome://tracing")


def step_table(microseconds: dict[str, float], steps: int) -> list[str]:
    """Return lines with the milliseconds a step of each part, and its share.

    Args:
        microseconds: Of all profiled steps together, by range; `ProfilerStep*` is the whole.
        steps: Steps profiled.
    """
    whole = microseconds["ProfilerStep*"]
    named = sum(microseconds.get(name, 0.0) for name in PARTS if name not in _INNER)
    rows = [(f"  {name}" if name in _INNER else name, microseconds[name]) for name in PARTS if name in microseconds]
    lines = [
        f"{name:<17} {value / steps / 1000:9.2f} ms {value / whole:6.1%}"
        for name, value in (*rows, ("the rest", max(0.0, whole - named)))
    ]
    return [f"{steps} steps of {whole / steps / 1000:.1f} ms:", *lines]
