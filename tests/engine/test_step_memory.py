import pytest
import torch

from dinocli.engine.step import train_step
from dinocli.engine.step_memory import SMALL_BATCH, LiveBytes, StepMemory, measure_step_memory, upper_bound
from tests.engine.learners import batch_of, tiny_learner


def test_freed_memory_is_not_counted_and_the_peak_stays() -> None:
    outside = torch.ones(1000)
    with LiveBytes() as live:
        kept = outside * 2
        assert live.now == kept.nbytes
        for _ in range(3):
            passing = outside + 1
            view = passing[:10]
            del passing
            assert live.now == 2 * kept.nbytes, "a view holds all of it"
            del view
        kept.mul_(2)
        assert (live.now, live.peak) == (kept.nbytes, 2 * kept.nbytes)
        del kept
    assert live.now == 0


class Twos:
    """A substitute for a loader."""

    def steps(self, first: int, last: int) -> list[object]:
        assert (first, last) == (0, 1)
        return [batch_of(SMALL_BATCH)]


def test_a_line_through_small_batches_predicts_a_large_one() -> None:
    memory = measure_step_memory(tiny_learner(), Twos(), usable=1e9)  # type: ignore[arg-type]
    learner = tiny_learner()
    learner.batch_size = 12
    with LiveBytes() as live:
        train_step(learner, batch_of(12), 0)
        train_step(learner, batch_of(12), 1)
    assert memory.bytes_for(12) == pytest.approx(live.peak, rel=0.1)
    for images in (1, 2, 12):
        bound = upper_bound(tiny_learner(), Twos(), images)  # type: ignore[arg-type]
        assert memory.bytes_for(images) <= bound
    assert bound < 2 * memory.bytes_for(12)
    again = measure_step_memory(tiny_learner(), Twos(), usable=1e9)  # type: ignore[arg-type]
    assert again == memory, "a measurement of bytes is the same every time"


@pytest.mark.parametrize(
    ("usable", "parts", "most"),
    [(99, 1, 0), (110, 1, 1), (129, 1, 2), (130, 1, 3), (147, 1, 4), (160, 1, 6), (1e4, 1, 768), (160, 4, 24)],
)
def test_batch_size_is_a_power_of_two_or_one_and_a_half_times_one(usable: float, parts: int, most: int) -> None:
    memory = StepMemory(fixed=100, per_image=10, usable=usable)
    assert memory.fits(parts) == most
    assert memory.bytes_for(most // parts) <= max(usable, 100)


@pytest.mark.parametrize(("slices", "most"), [(1, 64), (10, 480), (1000, 1000)])
def test_decoded_images_of_a_large_batch_limit_it(slices: int, most: int) -> None:
    memory = StepMemory(fixed=100, per_image=10, usable=1100, canvas=0.25)
    assert memory.fits(1, slices) == most
    assert memory.bytes_for(most // slices, slices) <= memory.usable
