import math
import random

import pytest

from dinocli.report.axis import make_axis


def test_ticks_of_hand_computed_ranges() -> None:
    axis = make_axis(0.612, 0.701, 154, 8, whole_ticks=True)
    assert axis.labels() == ["0.60", "0.65", "0.70", "0.75"]
    assert axis.place(0.60) == 154
    assert axis.place(0.75) == 8
    assert axis.place(0.675) == 81


def test_steps_end_where_the_training_ended() -> None:
    axis = make_axis(0, 4600, 44, 346, whole_ticks=False)
    assert axis.labels() == ["0", "1,000", "2,000", "3,000", "4,000"]
    assert axis.place(4600) == 346


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
@pytest.mark.parametrize("whole_ticks", [True, False])
def test_a_range_without_width_gets_some(value: float, whole_ticks: bool) -> None:
    axis = make_axis(value, value, 0, 100, whole_ticks=whole_ticks)
    assert axis.low < value < axis.high
    assert len(axis.ticks) >= 3


def test_small_values_keep_their_labels_apart() -> None:
    assert make_axis(0, 5e-5, 0, 100, whole_ticks=True).labels() == ["0", "2e-5", "4e-5", "6e-5"]


@pytest.mark.parametrize("whole_ticks", [True, False])
def test_any_range_is_covered_by_few_round_and_different_ticks(whole_ticks: bool) -> None:
    draw = random.Random(0)
    for _ in range(500):
        size = 10 ** draw.uniform(-6, 6)
        low = draw.uniform(-1, 1) * size
        high = low + draw.uniform(0.2, 1) * size
        axis = make_axis(low, high, 0, 100, whole_ticks=whole_ticks)
        slack = 1e-6 * (high - low)
        assert 2 <= len(axis.ticks) <= 7
        assert len(set(axis.labels())) == len(axis.ticks)
        step = axis.ticks[1] - axis.ticks[0]
        assert round(step / 10 ** math.floor(math.log10(step) + 1e-6)) in (1, 2, 5)
        assert axis.low <= low + slack
        assert axis.high >= high - slack
        assert all(axis.low - slack <= tick <= axis.high + slack for tick in axis.ticks)
