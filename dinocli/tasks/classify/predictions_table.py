"""Table of `classify`: predictions per image.

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
    """Predictions and labels of each row.

    Args:
        predicted_N: Most probable class.
        confidence_N: Calibrated probability of that class.
        given_N: Given label; empty without one.
        threshold: Confidence from which a prediction is accepted.
    """

    predicted_N: NDArray[np.str_]
    confidence_N: NDArray[np.float32]
    given_N: NDArray[np.str_]
    threshold: float

    @property
    def unlabelled_N(self) -> NDArray[np.bool_]:
        """Whether each row has no given label."""
        return np.asarray(self.given_N == "")

    @property
    def sure_N(self) -> NDArray[np.bool_]:
        """Whether the prediction of each row is accepted."""
        return np.asarray(self.confidence_N >= np.float32(self.threshold))

    def labels(self) -> list[str]:
        """Return the label of each row: given, else predicted, else `unsure`."""
        sure_N = np.where(self.sure_N, self.predicted_N, UNSURE)
        return [str(label) for label in np.where(self.unlabelled_N, sure_N, self.given_N)]

    def tags(self) -> list[ImageTag]:
        """Return the label of each row with its confidence; 1 for given labels."""
        confidence_N = np.where(self.unlabelled_N, self.confidence_N, 1).tolist()
        return [ImageTag(row, *tag) for row, tag in enumerate(zip(self.labels(), confidence_N, strict=True))]


def write_predictions(path: Path, names: Sequence[str], found: Predictions, boxes: Sequence[Box] | None) -> None:
    """Write one row per feature row.

    `label` is the given label, else the prediction, else `unsure`. `predicted` is always the most probable class; for a
    labelled image by a cross-validated classifier that did not see it, if possible.
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
