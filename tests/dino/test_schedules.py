import math

import pytest

from dinocli.dino.schedules import cosine, linear, warmup_cosine

LENGTHS = [1, 2, 3, 10, 1000]


def table(begin: int, warmup: int, steps: int, peak: float, end: float) -> list[float]:
    """Return the schedule of the paper as a table: constant, linear warm-up, half a cosine."""
    rest = [0.0] * begin
    rise = [peak * (number + 1) / warmup for number in range(warmup)]
    fall = steps - begin - warmup
    wave = [end + 0.5 * (peak - end) * (1 + math.cos(math.pi * number / fall)) for number in range(fall)]
    return [*rest, *rise, *wave][:steps]


@pytest.mark.parametrize(
    ("begin", "warmup", "steps"), [(0, 0, 10), (0, 3, 10), (4, 3, 20), (5, 0, 6), (100, 100, 1000)]
)
def test_warmup_cosine_equals_the_table(begin: int, warmup: int, steps: int) -> None:
    values = [warmup_cosine(step, begin=begin, warmup=warmup, steps=steps, peak=0.5, end=0.01) for step in range(steps)]
    assert values == pytest.approx(table(begin, warmup, steps, 0.5, 0.01), abs=1e-6)


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("share", [0.0, 0.1, 1 / 3, 0.5, 1.0])
def test_warmups_of_any_share_fit_any_run(steps: int, share: float) -> None:
    warmup = round(share * steps)
    values = [
        warmup_cosine(step, begin=warmup, warmup=warmup, steps=steps, peak=2.0, end=1.0) for step in range(2 * steps)
    ]
    assert all(0.0 <= value <= 2.0 for value in values)
    assert all(value > 0 for value in values[warmup:])


def test_cosine_hand_values() -> None:
    assert [cosine(step, 4, 1.0, 0.0) for step in (0, 1, 2, 3, 4, 9)] == pytest.approx(
        [1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0.0, 0.0]
    )
    assert cosine(5, 10, 0.04, 0.4) == pytest.approx(0.22)


def test_linear_hand_values() -> None:
    assert [linear(step, 4, 0.04, 0.08) for step in (-1, 0, 1, 4, 9)] == pytest.approx([0.04, 0.04, 0.05, 0.08, 0.08])


def test_zero_length_gives_the_final_value() -> None:
    assert linear(0, 0, 0.04, 0.07) == 0.07
    assert cosine(0, 0, 1.0, 0.3) == 0.3
    assert warmup_cosine(3, begin=2, warmup=3, steps=5, peak=1.0, end=0.1) == pytest.approx(2 / 3)
