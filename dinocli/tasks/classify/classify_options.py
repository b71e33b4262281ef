"""Options and result of `classify`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Literal, get_args

from dinocli.artifacts.protected_files import check_free
from dinocli.errors import UsageError
from dinocli.output_paths import side_file
from dinocli.tasks.inputs import FeatureInputs

AUTO_METHOD = "auto"
UNSURE = "unsure"
"""Label of images whose confidence is below the threshold."""
PREDICTIONS = "predictions.csv"
SUGGESTED = "suggested.csv"

Method = Literal["auto", "linear", "knn", "mean"]


@dataclass(frozen=True)
class ClassifyOptions(FeatureInputs):
    """Options of `classify`, in addition to `FeatureInputs`.

    Args:
        labels: Label tables, or `folder`; they are merged. Images without a label are classified.
        column: Label column, if the tables have several; empty for the only one.
        groups: A column of the tables, `folder` or `folder:N`; images of one group are never on both sides of a split.
        classifier: Saved classifier to use instead of labels.
        out: CSV table of all images; suggested.csv is written beside it, `other.suggested.csv` beside `other.csv`.
        save: Output file for the classifier, or empty.
        coco: COCO file for labels and suggestions, or empty.
        method: auto, linear (probe), knn or mean (nearest class mean).
        precision: Precision among accepted predictions that sets the threshold; 0 for no threshold, None for that of
            the saved classifier.
        suggest: Number of images to suggest for labelling; 0 for none.

    Raises:
        UsageError: Invalid values or combinations.
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
        super().__post_init__()
        if bool(self.labels) == bool(self.classifier):
            raise UsageError("give --labels FILE.csv to learn from, or --classifier FILE that was saved before")
        if self.method not in get_args(Method):
            raise UsageError(f"--method {self.method!r} is not known; use one of {', '.join(get_args(Method))}")
        if self.precision is not None and not 0 <= self.precision < 1:
            raise UsageError(f"--precision {self.precision:g} is not a share below 1; 0.95 accepts 5 % of errors")
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
        """Path of the list of images to label next."""
        return side_file(self.table, PREDICTIONS, SUGGESTED)

    def check_outputs(self) -> None:
        """Raise `UsageError` if an output exists and `force` is not set, or is an input."""
        inputs = (*self.sources, *self.labels, self.classifier)
        check_free(self.outputs(), force=self.force, inputs=inputs)

    def outputs(self) -> list[Path]:
        """Return the files that will be written."""
        more = [self.suggested] * bool(self.suggest) + [Path(self.save)] * bool(self.save)
        return [self.table, *more, *[Path(self.coco)] * bool(self.coco)]


@dataclass(frozen=True)
class ClassCounts:
    """One class.

    Args:
        name: Name of the class.
        labelled: Number of images with this label.
        predicted: Number of unlabelled images with this prediction.
        unsure: Number of unlabelled images with this prediction, but below the threshold.
        recall: Cross-validated recall on the labelled images; None if unknown.
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
        out: Path of the table.
        features: Feature file; None if images were given.
        images: Number of rows, labelled or not.
        dropped: Number of rows left out because they are not finite.
        method: Description of the chosen classifier.
        tried: Description -> log loss of each candidate, smallest first; empty for a saved classifier.
        accuracy: Cross-validated accuracy on the labelled images; None if unknown.
        balanced_accuracy: Cross-validated mean recall of the classes; None if unknown.
        precision: Required precision; 0 if all predictions are accepted.
        threshold: Confidence from which a prediction is accepted; None if none can show the precision.
        accepted: Fraction of unlabelled images whose prediction is accepted.
        classes: Classes, sorted by name.
        suggested: Names of images to label next.
        files: All written files.
        seconds: Duration of the command.
        root: Folder that image names are relative to; empty if unknown.
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
        """Return the next step for the user if images are suggested for labelling."""
        if not self.suggested:
            return []
        filled = side_file(self.out, PREDICTIONS, SUGGESTED)
        fill = f"fill in the labels of {filled} and rename it, then"
        if self.tried:
            return [f"{fill} repeat", "the command with --labels NAME --force"]
        return [f"{fill} fit again:", f"dinocli classify {quote(str(self.features or 'IMAGES'))} --labels NAME"]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        paths = {"out": str(self.out), "features": str(self.features) if self.features else None}
        return asdict(self) | paths | {"files": [str(path) for path in self.files], "seconds": round(self.seconds, 1)}
