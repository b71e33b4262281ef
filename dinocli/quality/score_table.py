"""Scores, what stands behind them image by image, and whether two of them really differ.

Shapes: N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.bootstrap import Difference, Statistic, bootstrap_predictions, paired_bootstrap

UNCLEAR = "no clear difference"
FEWEST = 6  # of five images that all improve, chance makes 6 %


@dataclass(frozen=True)
class Score:
    """One number, by one set of features.

    Args:
        key: Its name for programs.
        name: Its name for people.
        value: The number; not a number where it cannot be had.
        better: Which direction is better, empty where none is.
        rows_N: What stands behind it: a value per image, or a prediction where `statistic` is no mean. None where there
            is nothing to draw again.
        statistic: How the value comes from the rows.
    """

    key: str
    name: str
    value: float
    better: Literal["higher", "lower", ""] = ""
    rows_N: NDArray[Any] | None = None
    statistic: Literal["mean"] | Statistic = "mean"


@dataclass(frozen=True)
class ScoreRow:
    """One line of the table.

    Args:
        labels: Column of the labels, empty for a label-free score.
        key: Its name for programs.
        name: Its name for people.
        value: By the features.
        baseline: By the baseline, None without one.
        difference: Features - baseline with its 95 % interval, None where there is none.
        verdict: `better`, `worse`, `no clear difference`, or empty where nothing can be said.
    """

    labels: str
    key: str
    name: str
    value: float
    baseline: float | None = None
    difference: Difference | None = None
    verdict: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        data = {"labels": self.labels or None, "key": self.key, "name": self.name, "value": self.value}
        if self.baseline is None:
            return data
        change = self.difference
        return data | {
            "baseline": self.baseline,
            "difference": self.value - self.baseline,
            "interval": [change.low, change.high] if change else None,
            "verdict": self.verdict or None,
        }


def rows_of(
    sides: Sequence[Sequence[Score]],
    *,
    column: str = "",
    labels_N: NDArray[Any] | None = None,
    groups_N: NDArray[Any] | None = None,
) -> list[ScoreRow]:
    """Put the scores of the features beside those of the baseline, where there is one.

    Args:
        sides: Scores of the features; then, where there is one, the same scores of the baseline, of the same images in
            the same order.
        column: Of the labels.
        labels_N: The labels that predictions are held against.
        groups_N: Groups of the images, which are drawn as a whole.
    """
    if len(sides) == 1:
        return [ScoreRow(column, score.key, score.name, score.value) for score in sides[0]]
    rows = []
    for score, other in zip(*sides, strict=True):
        change = _difference(score, other, labels_N, groups_N)
        verdict = _verdict(score, change) if change else ""
        rows.append(ScoreRow(column, score.key, score.name, score.value, other.value, change, verdict))
    return rows


def sentence(row: ScoreRow) -> str:
    """Say in words whether a difference is real; empty where there is no interval."""
    if row.difference is None or row.baseline is None:
        return ""
    change = row.difference
    subject = f"{row.labels}: {row.name}" if row.labels else row.name
    numbers = f"{row.baseline:.3f} to {row.value:.3f} ({change.mean:+.3f}, 95 % interval {change.low:+.3f} to "
    numbers += f"{change.high:+.3f})"
    if row.verdict == UNCLEAR:
        return f"{subject} went from {numbers}: no significant difference."
    return f"{subject} went from {numbers}: significantly {row.verdict}."


def _difference(
    score: Score, other: Score, labels_N: NDArray[Any] | None, groups_N: NDArray[Any] | None
) -> Difference | None:
    if score.rows_N is None or other.rows_N is None or len(score.rows_N) != len(other.rows_N):
        return None
    if score.statistic != "mean":
        assert labels_N is not None
        if len(labels_N) < FEWEST:
            return None
        return bootstrap_predictions(labels_N, other.rows_N, score.rows_N, score.statistic, groups_N=groups_N)
    both = np.isfinite(score.rows_N) & np.isfinite(other.rows_N)
    if both.sum() < FEWEST:
        return None
    groups = None if groups_N is None else groups_N[both]
    return paired_bootstrap(other.rows_N[both], score.rows_N[both], groups_N=groups)


def _verdict(score: Score, change: Difference) -> str:
    if not score.better:
        return ""
    if change.low <= 0 <= change.high:
        return UNCLEAR
    return "better" if (change.low > 0) == (score.better == "higher") else "worse"
