"""The profile times all parts of a step and does not change the training."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

from dinocli.data.loader import Batch
from dinocli.engine.step import train_step
from dinocli.engine.step_profile import PARTS, ProfiledLoader, RangeTimes, step_table
from tests.engine.learners import batch_of, tiny_learner
from tests.tasks.drive import Ears


class Batches:
    """A loader of given batches, or of noise."""

    def __init__(self, given: list[list[Batch]] | None = None) -> None:
        self.given = given

    def steps(self, first: int, last: int) -> Generator[list[Batch], None, None]:
        yield from (self.given[step] if self.given else batch_of(4, seed=step) for step in range(first, last))


def losses(loader: Any, steps: int) -> list[float]:
    learner = tiny_learner()
    return [float(train_step(learner, slices, step)[0]) for step, slices in enumerate(loader.steps(0, steps))]


def test_every_part_is_in_the_table_and_in_the_trace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ears = Ears()
    profiled = ProfiledLoader(Batches(), tmp_path / "profile.json", ears)  # type: ignore[arg-type]
    assert losses(profiled, 6) == losses(Batches(), 6)
    head, *rows, where = ears.lines
    assert head.startswith("3 steps of ")
    assert [row[:17].strip() for row in rows] == [*PARTS, "the rest"]
    parts = [float(row.split()[-1].rstrip("%")) for row in rows if not row.startswith("  ")]
    assert sum(parts) == pytest.approx(100, abs=2)
    assert str(tmp_path / "profile.json") in where
    events = json.loads((tmp_path / "profile.json").read_text())["traceEvents"]
    names = [event.get("name") for event in events]
    assert set(PARTS) <= set(names)
    assert names.count("teacher") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]
    assert not any(capfd.readouterr()), "without a GPU the profiler of torch prints an ERROR line"


def test_a_run_that_is_too_short_is_refused(tmp_path: Path) -> None:
    ears = Ears()
    assert len(losses(ProfiledLoader(Batches(), tmp_path / "p.json", ears), 3)) == 3  # type: ignore[arg-type]
    assert ears.warnings == ["--profile measures steps after the first 3: there are none"]
    assert not list(tmp_path.iterdir())


def test_the_table_by_hand() -> None:
    lines = step_table({"ProfilerStep*": 40_000.0, "teacher": 10_000.0, "multi-crop": 20_000.0, "crop": 4_000.0}, 2)
    assert lines == [
        "2 steps of 20.0 ms:",
        "multi-crop            10.00 ms  50.0%",
        "  crop                 2.00 ms  10.0%",
        "teacher                5.00 ms  25.0%",
        "the rest               5.00 ms  25.0%",
    ]


def event(name: str, start: float, end: float, kernels: float = 0.0, **options: Any) -> FunctionEvent:
    known = {"id": 0, "thread": 1, **options}
    made = FunctionEvent(name=name, start_us=start, end_us=end, **known)  # type: ignore[no-untyped-call]
    if kernels:
        made.append_kernel(f"kernel of {name}", 0, kernels)  # type: ignore[no-untyped-call]
    return made


def test_kernels_of_another_thread_belong_to_the_range_that_waits_for_it() -> None:
    """Events as torch 2.11 gives them for a GPU: each range a second time, as an annotation on the device."""
    events = [
        event("ProfilerStep*", 0, 100),
        event("multi-crop", 0, 20),
        event("crop", 5, 15),
        event("aten::bmm", 6, 7, kernels=300),
        event("backward", 50, 80),
        event("aten::mm", 60, 61, kernels=500, thread=2),
        event("aten::add", 90, 91, kernels=10),
        event("ProfilerStep*", 30, 1000, device_type=DeviceType.CUDA),
        event("backward", 70, 75, device_type=DeviceType.CUDA),
        event("kernel of aten::mm", 200, 700, device_type=DeviceType.CUDA),
    ]
    times = RangeTimes.of(events)
    assert times.steps == 1
    assert times.host == {"ProfilerStep*": 100, "multi-crop": 20, "crop": 10, "backward": 30}
    assert times.device == {"ProfilerStep*": 100, "multi-crop": 300, "crop": 300, "backward": 500}
    assert RangeTimes.of(events[:3]).device == {}
