"""Result of `evaluate`: scores of features and of a baseline, and their interpretation."""

from dataclasses import dataclass
from typing import Any

from dinocli.quality.score_table import ScoreRow
from dinocli.quality.verdict import Verdict


@dataclass(frozen=True)
class EvaluateResult:
    """Result of `evaluate`.

    Args:
        features: Title of the evaluated features.
        baseline: Title of the baseline; empty without one.
        images: Number of rows in the evaluation.
        table: All scores.
        verdict: Verdict against the baseline, by the rule of a training run; None if it is not available.
        sentences: Interpretation of the differences; empty without a baseline.
        notes: What was left out, and the reason.
        seconds: Duration of the command.
        root: Folder that image names are relative to; empty if unknown.
        report: Path of the page; empty for none.
    """

    features: str
    baseline: str
    images: int
    table: list[ScoreRow]
    verdict: Verdict | None
    sentences: list[str]
    notes: list[str]
    seconds: float
    root: str = ""
    report: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return {
            "features": self.features,
            "baseline": self.baseline or None,
            "images": self.images,
            "root": self.root or None,
            "scores": [row.to_dict() for row in self.table],
            "verdict": {key: getattr(self.verdict, key) for key in ("outcome", "summary", "reason")}
            if self.verdict
            else None,
            "sentences": self.sentences,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
            "report": self.report or None,
        }
