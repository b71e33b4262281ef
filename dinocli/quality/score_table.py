"""Scores of features and of a baseline, with bootstrap intervals of their differences.

Shapes: N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.bootstrap import Difference, Statistic, bootstrap_predictions, paired_bootstrap

UNCLEAR = "no clear difference"
MIN_IMAGES = 6  # if all of five images improve, p = 2 * 0.5^5 = 6 %


@dataclass(frozen=True)
class Score:
    """One score of one set of features.

    Args:
        key: Name for programs.
        name: Name for people.
        value: The score; NaN if undefined.
        better: Direction that is better; empty for none.
        rows_N: Values per image, or predictions if `statistic` is not the mean; None if there is nothing to resample.
        statistic: Function from the rows to the value.
    """

    key: str
    name: str
    value: float
    better: Literal["higher", "lower", ""] = ""
    rows_N: NDArray[Any] | None = None
    statistic: Literal["mean"] | Statistic = "mean"


@dataclass(frozen=True)
class ScoreRow:
    """One row of the table of scores.

    Args:
        labels: Name of the label column; empty for a label-free score.
        key: Name for programs.
        name: Name for people.
        value: Score of the features.
        baseline: Score of the baseline; None without one.
        difference: Features - baseline with its 95 % interval; None if there is no interval.
        verdict: `better`, `worse`, `no clear difference`, or empty.
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


def score_rows(
    sides: Sequence[Sequence[Score]],
    *,
    column: str = "",
    labels_N: NDArray[Any] | None = None,
    groups_N: NDArray[Any] | None = None,
) -> list[ScoreRow]:
    """Build the table of scores, with differences to the baseline if there is one.

    Args:
        sides: Scores of the features and, optionally, of the baseline: same scores, same images in the same order.
        column: Name of the label column.
        labels_N: True labels, for scores of predictions.
        groups_N: Group of each image; whole groups are resampled.
    """
    if len(sides) == 1:
        return [ScoreRow(column, score.key, score.name, score.value) for score in sides[0]]
    rows = []
    for score, other in zip(*sides, strict=True):
        change = _difference(score, other, labels_N, groups_N)
        verdict = _verdict(score, change) if change else ""
        rows.append(ScoreRow(column, score.key, score.name, score.value, other.value, change, verdict))
    return rows


def difference_sentence(row: ScoreRow) -> str:
    """Return a sentence about the significance of a difference; empty if there is no interval."""
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
        if len(labels_N) < MIN_IMAGES:
            return None
        return bootstrap_predictions(labels_N, other.rows_N, score.rows_N, score.statistic, groups_N=groups_N)
    both = np.isfinite(score.rows_N) & np.isfinite(other.rows_N)
    if both.sum() < MIN_IMAGES:
        return None
    groups = None if groups_N is None else groups_N[both]
    return paired_bootstrap(other.rows_N[both], score.rows_N[both], groups_N=groups)


def _verdict(score: Score, change: Difference) -> str:
    if not score.better:
        return ""
    if change.low <= 0 <= change.high:
        return UNCLEAR
    return "better" if (change.low > 0) == (score.better == "higher") else "worse"
