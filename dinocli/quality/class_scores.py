"""How well each class is predicted, and which classes are taken for which.

Shapes: N images, C classes.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


class ClassScores(NamedTuple):
    """One row a class.

    Args:
        precision_C: Share of the images predicted as it that are it; 0 where none is predicted as it.
        recall_C: Share of its images that are predicted as it.
        f1_C: Harmonic mean of the two.
        confusion_CC: Images of each true class (rows) that are predicted as each class (columns).
    """

    precision_C: NDArray[np.float64]
    recall_C: NDArray[np.float64]
    f1_C: NDArray[np.float64]
    confusion_CC: NDArray[np.intp]


def class_scores(labels_N: NDArray[Any], predicted_N: NDArray[Any], classes_C: NDArray[Any]) -> ClassScores:
    """Score each class by scikit-learn.

    Args:
        labels_N: True labels.
        predicted_N: Predicted ones.
        classes_C: Order of the classes.
    """
    precision_C, recall_C, f1_C, _ = precision_recall_fscore_support(
        labels_N, predicted_N, labels=classes_C, zero_division=0
    )
    return ClassScores(precision_C, recall_C, f1_C, confusion_matrix(labels_N, predicted_N, labels=classes_C))


def most_confused(confusion_CC: NDArray[np.intp], most: int) -> list[tuple[int, int]]:
    """Return (true, predicted) places of the largest numbers beside the diagonal, largest first; never a zero."""
    off_CC = np.where(np.eye(len(confusion_CC), dtype=bool), 0, confusion_CC)
    order = np.argsort(-off_CC, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, off_CC.shape), strict=True)
    return [(int(true), int(predicted)) for true, predicted in pairs if off_CC[true, predicted]]
