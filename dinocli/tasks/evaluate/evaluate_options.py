"""Options and result of `evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocli.errors import UsageError
from dinocli.output_paths import check_free
from dinocli.quality.score_table import ScoreRow
from dinocli.quality.verdict import Verdict
from dinocli.tasks.inputs import FeatureInputs


@dataclass(frozen=True)
class EvaluateOptions(FeatureInputs):
    """Options of `evaluate`, in addition to `FeatureInputs`.

    Args:
        labels: `folder`, or a CSV with a `path` column; empty for label-free scores only.
        groups: A column of that CSV, or `folder`; images of one group are never on both sides of a split.
        train: Training images, as a name pattern or a folder; all others are tested.
        test: Test images; all others are for training.
        baseline: A feature file, or weights to embed the same images with; empty for none.
        views: Augmented views per sampled image; 0 reads no image again and gives no verdict.
        whiten: Whiten each side by its own features before scoring.
        report: HTML page; empty for none.
        argv: Command line, for the page.
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

    def check(self) -> None:
        """Raise `UsageError` if the page exists or is an input, or options of labels were given without labels."""
        if self.report:
            inputs = (*self.inputs, self.baseline, self.labels)
            check_free([Path(self.report)], force=self.force, options="--report", inputs=inputs)
        if not self.labels and (self.groups or self.train or self.test):
            raise UsageError("--groups, --train and --test belong to labels: add --labels folder or --labels FILE.csv")


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
