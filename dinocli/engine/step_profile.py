"""Profile of the training step: named ranges of torch's profiler, as a table and a Chrome trace."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from dinocli.data.loader import Batch, Loader
from dinocli.files import atomic_file
from dinocli.progress import ProgressReporter

PROFILE = "profile.json"
"""File name of the Chrome trace in the folder of a run, for Perfetto or chrome://tracing."""

WAIT = "wait for images"
PARTS = (
    *(WAIT, "multi-crop", "crop", "photometric", "teacher", "student", "loss", "backward"),
    *("optimizer", "average"),
)
"""Ranges of a step in order; crop and photometric are parts of the multi-crop."""

_INNER = ("crop", "photometric")
_SKIPPED_STEPS, _WARMUP_STEPS, PROFILED_STEPS = 2, 1, 10  # the first steps allocate memory and choose kernels


class ProfiledLoader:
    """Loader that profiles ten of the steps between its batches, after the third.

    Args:
        loader: Source of the batches.
        trace: Path of the Chrome trace; None for no trace.
        reporter: Receives the table.

    Attributes:
        seconds: Seconds per step of each range by name, on the device if it is a GPU; empty before the profile is
            complete.
    """

    def __init__(self, loader: Loader, trace: Path | None, reporter: ProgressReporter) -> None:
        self.loader, self.trace, self.reporter = loader, trace, reporter
        self.seconds: dict[str, float] = {}

    def steps(self, first: int, last: int) -> Generator[list[Batch], None, None]:
        """Yield the slices of steps first to last - 1."""
        activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * torch.cuda.is_available()]
        plan = schedule(wait=_SKIPPED_STEPS, warmup=_WARMUP_STEPS, active=PROFILED_STEPS, repeat=1)
        if last - first <= _SKIPPED_STEPS + _WARMUP_STEPS:
            self.reporter.warn(
                f"--profile looks at steps after the first {_SKIPPED_STEPS + _WARMUP_STEPS}: there are none"
            )
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
        events = {event.key: event for event in profiler.key_averages()}
        whole = events["ProfilerStep*"]
        on_device = any(event.device_time_total for event in events.values())
        times = {name: events[name].device_time_total if on_device else events[name].cpu_time_total for name in PARTS}
        self.seconds = {name: value / whole.count / 1e6 for name, value in times.items()}
        for line in step_table({name: event.cpu_time_total for name, event in events.items()}, whole.count):
            self.reporter.line(line)
        if on_device:
            self.reporter.line("time on the device:")
            for line in step_table({name: event.device_time_total for name, event in events.items()}, whole.count):
                self.reporter.line(line)
        if self.trace:
            self.reporter.line(f"trace: {self.trace}; open it in Perfetto or chrome://tracing")


def step_table(microseconds: dict[str, float], steps: int) -> list[str]:
    """Return a table of milliseconds per step and share of each range, as lines.

    Args:
        microseconds: Total time of all profiled steps by range; `ProfilerStep*` is the whole step.
        steps: Number of profiled steps.
    """
    whole = microseconds["ProfilerStep*"]
    named = sum(microseconds.get(name, 0.0) for name in PARTS if name not in _INNER)
    rows = [(f"  {name}" if name in _INNER else name, microseconds[name]) for name in PARTS if name in microseconds]
    lines = [
        f"{name:<17} {value / steps / 1000:9.2f} ms {value / whole:6.1%}"
        for name, value in (*rows, ("the rest", max(0.0, whole - named)))
    ]
    return [f"{steps} steps of {whole / steps / 1000:.1f} ms:", *lines]
