"""Options of `evaluate`."""

from dataclasses import dataclass
from pathlib import Path

from dinocli.artifacts.protected_files import check_free
from dinocli.errors import UsageError
from dinocli.tasks.inputs import FeatureInputs


@dataclass(frozen=True)
class EvaluateOptions(FeatureInputs):
    """Options of `evaluate`, in addition to `FeatureInputs`.

    Args:
        labels: `folder`, `folder:N`, a CSV with a `path` column, or annotations (COCO, YOLO, VOC); empty: no labels.
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
            inputs = (*self.sources, self.baseline, self.labels)
            check_free([Path(self.report)], force=self.force, options="--report", inputs=inputs)
        if not self.labels and (self.groups or self.train or self.test):
            raise UsageError("--groups, --train and --test belong to labels: add --labels folder or --labels FILE.csv")
