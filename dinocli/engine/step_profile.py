"""Profile of the training step: named ranges of torch's profiler, as a table and a Chrome trace."""

import os
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from dinocli.data.loader import Batch, Loader
from dinocli.files import atomic_file
from dinocli.progress import ProgressReporter

WAIT = "wait for images"
PARTS = (
    *(WAIT, "multi-crop", "crop", "photometric", "teacher", "student", "loss", "backward"),
    *("optimizer", "average"),
)
"""Ranges of a step in order; crop and photometric are parts of the multi-crop."""

_INNER = ("crop", "photometric")
_STEP = "ProfilerStep*"
_SKIPPED_STEPS, _WARMUP_STEPS, PROFILED_STEPS = 2, 1, 10  # the first steps allocate memory and choose kernels


class ProfiledLoader:
    """Loader that profiles ten of the steps between its batches, after the third.

    Args:
        loader: Source of the batches.
        trace: Path of the Chrome trace, for Perfetto or chrome://tracing; None for no trace.
        reporter: Receives the table.

    Attributes:
        seconds: Seconds per step of each range by name, of its kernels if the device is a GPU (the wait for images is
            always that of the host); empty before the profile is complete.
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
                f"--profile measures steps after the first {_SKIPPED_STEPS + _WARMUP_STEPS}: there are none"
            )
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # without a GPU the profiler of torch prints an ERROR line
        with (
            # One cycle; torch 2.11 warns about the events of earlier ones if they are not kept.
            profile(activities=activities, schedule=plan, on_trace_ready=self._report, acc_events=True) as profiler,
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
        times = RangeTimes.of(profiler.events() or [])  # type: ignore[no-untyped-call]
        counted = {**times.host, **times.device, WAIT: times.host.get(WAIT, 0.0)} if times.device else times.host
        self.seconds = {name: counted.get(name, 0.0) / times.steps / 1e6 for name in PARTS}
        for line in step_table(times.host, times.steps):
            self.reporter.line(line)
        if times.device:
            self.reporter.line("kernels on the device:")
            for line in step_table(times.device, times.steps, rest="idle, other"):
                self.reporter.line(line)
        if self.trace:
            self.reporter.line(f"trace: {self.trace}; open it in Perfetto or chrome://tracing")


@dataclass(frozen=True)
class RangeTimes:
    """Microseconds of each range over all profiled steps.

    Args:
        host: Time between begin and end of a range, by name; `ProfilerStep*` is the whole step.
        device: Time of the kernels that were launched within a range, and the whole step of the host; empty on a CPU.
        steps: Number of profiled steps.
    """

    host: dict[str, float]
    device: dict[str, float]
    steps: int

    @classmethod
    def of(cls, events: Iterable[FunctionEvent]) -> "RangeTimes":
        """Sum the events of a profile.

        Not `key_averages`: on a GPU it has a second entry with the name of each range, without time on the host, and
        its ranges lack the kernels of the backward pass, which another thread launches while this one waits.
        """
        host_events = [event for event in events if event.device_type == DeviceType.CPU]
        ranges: dict[str, list[tuple[float, float]]] = {}
        for event in host_events:
            if event.name in (*PARTS, _STEP):
                ranges.setdefault(event.name, []).append((event.time_range.start, event.time_range.end))
        host = {name: sum(end - start for start, end in spans) for name, spans in ranges.items()}
        device = dict.fromkeys(ranges, 0.0)
        for event in host_events:
            kernels = sum(kernel.duration for kernel in event.kernels if kernel.name not in ranges)
            for name, spans in ranges.items() if kernels else ():
                if any(start <= event.time_range.start <= end for start, end in spans):
                    device[name] += kernels
        busy = any(device.values())
        return cls(host, {**device, _STEP: host[_STEP]} if busy else {}, len(ranges[_STEP]))


def step_table(microseconds: dict[str, float], steps: int, rest: str = "the rest") -> list[str]:
    """Return a table of milliseconds per step and share of each range, as lines.

    Args:
        microseconds: Total time of all profiled steps by range; `ProfilerStep*` is the whole step.
        steps: Number of profiled steps.
        rest: Name of the time outside of the ranges.
    """
    whole = microseconds[_STEP]
    named = sum(microseconds.get(name, 0.0) for name in PARTS if name not in _INNER)
    rows = [(f"  {name}" if name in _INNER else name, microseconds[name]) for name in PARTS if name in microseconds]
    lines = [
        f"{name:<17} {value / steps / 1000:9.2f} ms {value / whole:6.1%}"
        for name, value in (*rows, (rest, max(0.0, whole - named)))
    ]
    return [f"{steps} steps of {whole / steps / 1000:.1f} ms:", *lines]
