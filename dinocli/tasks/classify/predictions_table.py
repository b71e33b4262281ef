"""The files that `classify` writes: a line an image, and a table to fill in.

Shapes: N rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import BOX_KEYS
from dinocli.artifacts.image_coco import ImageTag
from dinocli.data.region_of_interest import Box
from dinocli.data.text_tables import write_table
from dinocli.tasks.classify.classify_options import UNSURE

HEADER = ("path", "label", "confidence", "predicted", "given")


class Predictions(NamedTuple):
    """What is said of each row.

    Args:
        predicted_N: The likeliest class.
        confidence_N: Its calibrated probability.
        given_N: The label that the row had, or empty.
        threshold: Confidence from which a prediction is accepted.
    """

    predicted_N: NDArray[np.str_]
    confidence_N: NDArray[np.float32]
    given_N: NDArray[np.str_]
    threshold: float

    @property
    def unlabelled_N(self) -> NDArray[np.bool_]:
        """Rows that had no label."""
        return np.asarray(self.given_N == "")

    @property
    def sure_N(self) -> NDArray[np.bool_]:
        """Rows whose prediction is accepted."""
        return np.asarray(self.confidence_N >= np.float32(self.threshold))

    def labels(self) -> list[str]:
        """Return the label of each row: given, else predicted, else `unsure`."""
        sure_N = np.where(self.sure_N, self.predicted_N, UNSURE)
        return [str(label) for label in np.where(self.unlabelled_N, sure_N, self.given_N)]

    def tags(self) -> list[ImageTag]:
        """Return the label of each row with its confidence, 1 where it was given."""
        sure_N = np.where(self.unlabelled_N, self.confidence_N, 1).tolist()
        return [ImageTag(row, *what) for row, what in enumerate(zip(self.labels(), sure_N, strict=True))]


def write_predictions(path: Path, names: Sequence[str], found: Predictions, boxes: Sequence[Box] | None) -> None:
    """Write one line a row, in the order of the features.

    `label` is the label that was given, else the prediction, else `unsure`; `predicted` is the likeliest class in any
    case, for a labelled image by a classifier that had not seen it, where that was possible.
    """
    tiles: Sequence[tuple[int, ...]] = boxes or [()] * len(names)
    columns = zip(
        names,
        found.labels(),
        found.confidence_N.tolist(),
        found.predicted_N.tolist(),
        found.given_N.tolist(),
        tiles,
        strict=True,
    )
    rows = ((name, label, f"{sure:.6g}", best, given, *box) for name, label, sure, best, given, box in columns)
    write_table(path, [*HEADER, *(BOX_KEYS if boxes else ())], rows)


def write_suggested(path: Path, names: Sequence[str], column: str) -> None:
    """Write one line an image, the least sure first, with an empty label to be filled in."""
    write_table(path, ["path", column], ((name, "") for name in names))
