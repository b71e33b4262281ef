"""What can be asked of `classify`, and what it answers."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dinocli.errors import UsageError
from dinocli.file_set import side_file
from dinocli.quality.classifiers import METHODS
from dinocli.tasks.inputs import FeatureInputs

AUTO_METHOD = "auto"
UNSURE = "unsure"
"""Label of an image whose confidence is below the threshold."""
PREDICTIONS = "predictions.csv"
SUGGESTED = "suggested.csv"


@dataclass(frozen=True)
class ClassifyOptions(FeatureInputs):
    """What a user asked for, beside `FeatureInputs`.

    Args:
        labels: Tables of labels, or `folder`; joined. Images without a label are classified.
        column: Of the tables, where they have several; empty takes the only one.
        groups: A column of the tables, `folder` or `folder:N`: images of one group are never on both sides.
        classifier: A saved classifier to use instead of labels.
        out: The table of all images, a CSV; suggested.csv lies beside it, `other.suggested.csv` beside `other.csv`.
        save: File for the classifier, or empty.
        coco: File for the labels and suggestions as COCO, or empty.
        method: `auto` or one of `METHODS`.
        precision: Share of right ones among accepted predictions that the threshold is chosen for, 0 for no threshold;
            None takes what the saved classifier was made with.
        suggest: Number of images to suggest for labelling, 0 for none.

    Raises:
        UsageError: Values that make no sense, alone or together.
    """

    labels: tuple[str, ...] = ()
    column: str = ""
    groups: str = ""
    classifier: str = ""
    out: str = PREDICTIONS
    save: str = ""
    coco: str = ""
    method: str = AUTO_METHOD
    precision: float | None = None
    suggest: int = 0

    def __post_init__(self) -> None:
        if bool(self.labels) == bool(self.classifier):
            raise UsageError("give --labels FILE.csv to learn from, or --classifier FILE that was saved before")
        if self.method not in (AUTO_METHOD, *METHODS):
            raise UsageError(f"--method {self.method!r} is not known; use one of auto, {', '.join(METHODS)}")
        if self.precision is not None and not 0 <= self.precision < 1:
            raise UsageError(f"--precision {self.precision:g} is no share below 1; 0.95 accepts 5 % of errors")
        learning = {
            "--save": self.save,
            "--groups": self.groups,
            "--column": self.column,
            "--method": self.method != AUTO_METHOD,
        }
        fixed = {"--weights": self.weights, "--model": self.model}
        if self.classifier and (unused := [option for option, given in (learning | fixed).items() if given]):
            raise UsageError(f"{', '.join(unused)} cannot change a saved classifier; leave it out, or give --labels")
        if self.save and Path(self.save).suffix != ".safetensors":
            raise UsageError(f"--save {self.save}: the file is a .safetensors")

    @property
    def table(self) -> Path:
        return Path(self.out)

    @property
    def suggested(self) -> Path:
        """Where the images to label next are listed."""
        return side_file(self.table, PREDICTIONS, SUGGESTED)

    def outputs(self) -> list[Path]:
        """Return the files that will be written."""
        more = [self.suggested] * bool(self.suggest) + [Path(self.save)] * bool(self.save)
        return [self.table, *more, *[Path(self.coco)] * bool(self.coco)]


@dataclass(frozen=True)
class ClassCounts:
    """One class.

    Args:
        name: Of the class.
        labelled: Images that had this label.
        predicted: Images without a label that were given it.
        unsure: Images without a label that would have been given it, but for the threshold.
        recall: Share of its labelled images that were predicted rightly by a classifier that had not seen them; None
            where that is not known.
    """

    name: str
    labelled: int
    predicted: int
    unsure: int
    recall: float | None


@dataclass(frozen=True)
class ClassifyResult:
    """Result of `classify`.

    Args:
        out: The table.
        features: Feature file; None where images were given.
        images: Rows that were classified or had a label.
        dropped: Rows that are not finite.
        method: What was chosen, in words.
        tried: Log loss of everything that was tried, in words, smallest first; empty for a saved classifier.
        accuracy: Over the labelled images, by classifiers that had not seen them; None where that is not known.
        balanced_accuracy: Mean recall of the classes, by the same cross-validation.
        precision: That was asked for, 0 where all are accepted.
        threshold: Confidence from which a prediction is accepted; None where none can show that precision.
        accepted: Share of the images without a label.
        classes: In the order of their names.
        suggested: Names of images to label next.
        files: That were written.
        seconds: Of the whole command.
        root: Folder that the names are relative to, where it is known.
    """

    out: Path
    features: Path | None
    images: int
    dropped: int
    method: str
    tried: dict[str, float]
    accuracy: float | None
    balanced_accuracy: float | None
    precision: float
    threshold: float | None
    accepted: float
    classes: list[ClassCounts]
    suggested: list[str]
    files: list[Path]
    seconds: float
    root: str

    def next_commands(self) -> list[str]:
        """Return what to type next, where labels are still missing."""
        if not self.suggested:
            return []
        filled = side_file(self.out, PREDICTIONS, SUGGESTED)
        return [f"fill in {filled}, then the same command with --labels {filled} --force"]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        paths = {"out": str(self.out), "features": str(self.features) if self.features else None}
        return asdict(self) | paths | {"files": [str(path) for path in self.files], "seconds": round(self.seconds, 1)}
