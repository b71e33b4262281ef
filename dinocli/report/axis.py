"""Axes of a chart: where a value lies, and which round numbers to write beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dinocli.report.text import number


@dataclass(frozen=True)
class Axis:
    """A straight map from values to lengths on the page.

    Args:
        low: Value at `first`.
        high: Value at `last`, larger than `low`.
        first: Length at the low end.
        last: Length at the high end; smaller than `first` where the page counts downwards.
        ticks: Round values from low to high, in equal steps.
    """

    low: float
    high: float
    first: float
    last: float
    ticks: Sequence[float]

    def place(self, value: float) -> float:
        """Return the length of a value, to a tenth of a unit."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.first + share * (self.last - self.first), 1)

    def labels(self) -> list[str]:
        """Return the ticks as text, all with the decimals that tell them apart."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else self.ticks[0]
        if step and abs(step) < 1e-4:
            return [number(tick) for tick in self.ticks]
        decimals = next((d for d in range(6) if math.isclose(step, round(step, d), rel_tol=1e-6)), 6)
        return [f"{tick:,.{decimals}f}" for tick in self.ticks]


def make_axis(low: float, high: float, first: float, last: float, *, whole_ticks: bool) -> Axis:
    """Choose round ticks for a range of values.

    Args:
        low: Smallest value, finite.
        high: Largest value, finite; a range without width is given some.
        first: Length at the low end.
        last: Length at the high end.
        whole_ticks: Widen the range to the next tick on both sides, so that the highest value is below a written
        number;
            else the ticks lie inside the range (steps end where the training ended).

    Returns:
        An axis of two to seven ticks.
    """
    if not high > low:
        margin = abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    step = _round_step((high - low) / (4 if whole_ticks else 5))
    # The hair forgives rounding: 0.3 / 0.1 is a little less than 3.
    hair = 1e-9
    if whole_ticks:
        ticks = [step * n for n in range(math.floor(low / step + hair), math.ceil(high / step - hair) + 1)]
        return Axis(ticks[0], ticks[-1], first, last, ticks)
    ticks = [step * n for n in range(math.ceil(low / step - hair), math.floor(high / step + hair) + 1)]
    return Axis(low, high, first, last, ticks)


def _round_step(rough: float) -> float:
    """Return the 1, 2 or 5 times a power of ten that is next above a rough step."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
