"""Options and result of `evaluate`."""

from dataclasses import dataclass
from typing import Any

from dinocli.quality.score_table import ScoreRow
from dinocli.quality.verdict import Verdict
from dinocli.tasks.inputs import ReadOptions


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `evaluate`.

    Args:
        inputs: One feature file, or images; empty takes the newest feature file of the newest run.
        labels: `folder`, or a CSV with a `path` column; empty for the label-free scores alone.
        groups: A column of that CSV, or `folder`: images of one group are never on both sides of a split.
        train: Names of the images to learn from, as a pattern or a folder; the others are tested.
        test: Names of the images to test on; the others are learnt from.
        baseline: A feature file, or weights to embed the same images with; empty for none.
        weights: Weights of the features, where `inputs` are images; as for training.
        model: Beside a bare state dict or ``none``.
        views: Augmented views of each image of a sample; 0 looks at no image again and leaves out the verdict.
        whiten: Whiten the features before measuring, each side by its own features.
        read: How images are found and read, where they are given, and those of a baseline.
        batch_size: Images embedded at once, 0 for the default.
        device: auto, cpu, cuda or cuda:N.
        seed: Random seed of samples, splits and draws.
        report: Page to write; empty for none.
        force: A page that is there may be replaced.
        argv: The command line, for the page.
    """

    inputs: tuple[str, ...] = ()
    labels: str = ""
    groups: str = ""
    train: str = ""
    test: str = ""
    baseline: str = ""
    weights: str = ""
    model: str = ""
    views: int = 2
    whiten: bool = False
    read: ReadOptions = ReadOptions()
    batch_size: int = 0
    device: str = "auto"
    seed: int = 0
    report: str = ""
    force: bool = False
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
