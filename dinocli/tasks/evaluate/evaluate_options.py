"""Options and result of `evaluate`."""

from dataclasses import dataclass
from typing import Any

from dinocli.quality.score_table import ScoreRow
from dinocli.quality.verdict import Verdict
from dinocli.tasks.inputs import FeatureInputs


@dataclass(frozen=True)
class EvaluateOptions(FeatureInputs):
    """Options of `evaluate`, beside those of `FeatureInputs`.

    Args:
        labels: `folder`, or a CSV with a `path` column; empty for the label-free scores alone.
        groups: A column of that CSV, or `folder`: images of one group are never on both sides of a split.
        train: Names of the images to learn from, as a pattern or a folder; the others are tested.
        test: Names of the images to test on; the others are learnt from.
        baseline: A feature file, or weights to embed the same images with; empty for none.
        views: Augmented views of each image of a sample; 0 looks at no image again and leaves out the verdict.
        whiten: Whiten the features before measuring, each side by its own features.
        report: Page to write; empty for none.
        argv: The command line, for the page.
    """

    labels: str = ""
    groups: str = ""
    train: str = ""
    test: str = ""
    baseline: str = ""
    views: int = 2
    whiten: bool = False
    report: str = ""
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluateResult:
    """Result of `evaluate`.

    Args:
        features: What was evaluated.
        baseline: What it was compared with, empty for nothing.
        images: Rows that took part.
        table: All scores.
        verdict: Against the baseline, by the scores and in the words of a training; None where it cannot be had.
        sentences: What the differences mean, in words; empty without a baseline.
        notes: What was left out, and why.
        seconds: Duration of the whole command.
        root: Folder that the names of the images are relative to; empty where it is not known.
        report: The page; empty for none.
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
