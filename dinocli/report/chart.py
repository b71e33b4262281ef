"""Line charts as inline SVG without scripts; colours come from the page's style sheet.

Lengths are SVG units. A page shows a chart about 360 pixels wide, so that a unit is about a pixel.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dinocli.report.axis import Axis, make_axis
from dinocli.report.text import html_text, number

_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 8, 36

_MAX_POINTS = 150
"""Points per series; more cannot be seen on 300 pixels."""


@dataclass(frozen=True)
class Curve:
    """A line chart of values over training steps.

    Args:
        title: Title of a few words.
        x_label: Label of the horizontal axis.
        unit: Unit of the values; empty for none.
        steps: Horizontal positions, rising.
        series: Name -> one value per step, at most four series; non-finite values leave a gap.
        start: Value of the start weights, drawn as a dashed line; not drawn if not finite.
        mark: Step to mark with a vertical line, such as the selected one.
        shows_last: Show the last value of each series in the legend.
    """

    title: str
    x_label: str
    unit: str
    steps: Sequence[float]
    series: Mapping[str, Sequence[float]]
    start: float | None = None
    mark: float | None = None
    shows_last: bool = True


class _Point(NamedTuple):
    """Neighbouring values of a series, summarized."""

    step: float
    low: float
    mean: float
    high: float


def line_chart(curve: Curve) -> str:
    """Draw a chart as an HTML figure.

    Long series are drawn as the mean of neighbouring points over a band from their minimum to their maximum, so that
    noise is visible and does not hide the trend.

    Args:
        curve: Data of the chart; a text replaces it if no value is finite.

    Returns:
        HTML with escaped strings.
    """
    runs = [_runs(curve.steps, values) for values in curve.series.values()]
    points = [point for series in runs for run in series for point in run]
    heading = f"<h3>{html_text(curve.title)}{f' <small>{html_text(curve.unit)}</small>' if curve.unit else ''}</h3>"
    if not points:
        return f'<figure class="chart">{heading}<p class="note">No finite values were recorded.</p></figure>'
    start = [] if curve.start is None or not math.isfinite(curve.start) else [curve.start]
    x = make_axis(min(curve.steps), max(curve.steps), _LEFT, _WIDTH - _RIGHT, whole_ticks=False)
    lowest, highest = min(p.low for p in points), max(p.high for p in points)
    y = make_axis(min([lowest, *start]), max([highest, *start]), _HEIGHT - _BOTTOM, _TOP, whole_ticks=True)
    body = _axes(x, y, curve.x_label) + "".join(_start_line(value, y) for value in start)
    body += "" if curve.mark is None else _mark(x.place(curve.mark))
    body += "".join(_line(run, x, y, place) for place, series in enumerate(runs) for run in series)
    label = html_text(f"{curve.title} over {curve.x_label}")
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{body}</svg>'
    return f'<figure class="chart">{heading}{_legend(curve)}{svg}</figure>'


def _runs(steps: Sequence[float], values: Sequence[float]) -> list[list[_Point]]:
    """Summarize a series to `_MAX_POINTS` points, and split it at gaps."""
    size = math.ceil(len(values) / _MAX_POINTS)
    runs: list[list[_Point]] = [[]]
    for first in range(0, len(values), max(1, size)):
        bucket = slice(first, first + size)
        pairs = [p for p in zip(steps[bucket], values[bucket], strict=True) if math.isfinite(p[1])]
        if pairs:
            finite = [value for _, value in pairs]
            middle = sum(step for step, _ in pairs) / len(pairs)
            runs[-1].append(_Point(middle, min(finite), sum(finite) / len(finite), max(finite)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _line(run: Sequence[_Point], x: Axis, y: Axis, place: int) -> str:
    """Draw a series without gaps; a single point becomes a dot, since its line would be invisible."""
    across = [x.place(point.step) for point in run]
    if len(run) == 1:
        return f'<circle class="dot s{place}" cx="{across[0]}" cy="{y.place(run[0].mean)}" r="2.5"/>'
    line = " ".join(f"{a},{y.place(p.mean)}" for a, p in zip(across, run, strict=True))
    drawn = f'<polyline class="line s{place}" points="{line}"/>'
    if all(point.low == point.high for point in run):
        return drawn
    upper = [f"{a},{y.place(p.high)}" for a, p in zip(across, run, strict=True)]
    lower = [f"{a},{y.place(p.low)}" for a, p in zip(across, run, strict=True)]
    return f'<polygon class="band s{place}" points="{" ".join(upper + lower[::-1])}"/>{drawn}'


def _axes(x: Axis, y: Axis, x_label: str) -> str:
    parts = []
    for tick, label in zip(y.ticks, y.labels(), strict=True):
        height = y.place(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height}" y2="{height}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{height + 3.5}" text-anchor="end">{label}</text>')
    floor = _HEIGHT - _BOTTOM
    for tick, label in zip(x.ticks, x.labels(), strict=True):
        across = x.place(tick)
        parts.append(f'<line class="tick" x1="{across}" x2="{across}" y1="{floor}" y2="{floor + 4}"/>')
        parts.append(f'<text x="{across}" y="{floor + 15}" text-anchor="middle">{label}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return "".join(parts) + f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{html_text(x_label)}</text>'


def _start_line(value: float, y: Axis) -> str:
    height = y.place(value)
    return f'<line class="start" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height}" y2="{height}"/>'


def _mark(across: float) -> str:
    return f'<line class="mark" x1="{across}" x2="{across}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'


def _legend(curve: Curve) -> str:
    """Write the names of the series, each with its last finite value."""
    entries = []
    for place, (name, values) in enumerate(curve.series.items()):
        last = next((value for value in reversed(values) if math.isfinite(value)), math.nan)
        entries.append((f"line s{place}", name, last))
    if curve.start is not None:
        entries.append(("start", "start", curve.start))
    return (
        '<ul class="legend">'
        + "".join(
            f'<li><svg width="18" height="8"><line class="{style}" x1="0" x2="18" y1="4" y2="4"/></svg>'
            f"{html_text(name)}{f' <b>{number(value)}</b>' if curve.shows_last else ''}</li>"
            for style, name, value in entries
        )
        + "</ul>"
    )
