"""Axes of a chart: position of a value, and round tick values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dinocli.report.text import number


@dataclass(frozen=True)
class Axis:
    """A linear map from values to coordinates.

    Args:
        low: Value at `first`.
        high: Value at `last`, larger than `low`.
        first: Coordinate of `low`, SVG units.
        last: Coordinate of `high`; smaller than `first` on a vertical axis, where coordinates count downwards.
        ticks: Round values from low to high, in equal steps.
    """

    low: float
    high: float
    first: float
    last: float
    ticks: Sequence[float]

    def place(self, value: float) -> float:
        """Return the coordinate of a value, rounded to 0.1."""
        fraction = (value - self.low) / (self.high - self.low)
        return round(self.first + fraction * (self.last - self.first), 1)

    def labels(self) -> list[str]:
        """Return the ticks as text, with as many decimals as the step needs."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else self.ticks[0]
        if step and abs(step) < 1e-4:
            return [number(tick) for tick in self.ticks]
        decimals = next((d for d in range(6) if math.isclose(step, round(step, d), rel_tol=1e-6)), 6)
        return [f"{tick:,.{decimals}f}" for tick in self.ticks]


def make_axis(low: float, high: float, first: float, last: float, *, whole_ticks: bool) -> Axis:
    """Choose round ticks for a range of values.

    Args:
        low: Smallest value, finite.
        high: Largest value, finite; if equal to `low`, the range is widened.
        first: Coordinate of the low end.
        last: Coordinate of the high end.
        whole_ticks: Widen the range to the next tick on both sides; else ticks lie inside the range, as for steps,
            which end with the training.

    Returns:
        An axis of two to seven ticks.
    """
    if not high > low:
        margin = abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    step = _round_step((high - low) / (4 if whole_ticks else 5))
    tolerance = 1e-9  # for rounding: 0.3 / 0.1 < 3
    if whole_ticks:
        ticks = [step * n for n in range(math.floor(low / step + tolerance), math.ceil(high / step - tolerance) + 1)]
        return Axis(ticks[0], ticks[-1], first, last, ticks)
    ticks = [step * n for n in range(math.ceil(low / step - tolerance), math.floor(high / step + tolerance) + 1)]
    return Axis(low, high, first, last, ticks)


def _round_step(min_step: float) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten that is not below `min_step`."""
    power = 10.0 ** math.floor(math.log10(min_step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= min_step * (1 - 1e-9))
