"""Precision, recall and F1 per class, and the confusion matrix.

Shapes: N images, C classes.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


class ClassScores(NamedTuple):
    """Scores per class.

    Args:
        precision_C: True positives / predictions of the class; 0 where it is never predicted.
        recall_C: True positives / images of the class.
        f1_C: Harmonic mean of precision and recall.
        confusion_CC: Number of images by true class (rows) and predicted class (columns).
    """

    precision_C: NDArray[np.float64]
    recall_C: NDArray[np.float64]
    f1_C: NDArray[np.float64]
    confusion_CC: NDArray[np.intp]


def class_scores(labels_N: NDArray[Any], predicted_N: NDArray[Any], classes_C: NDArray[Any]) -> ClassScores:
    """Score each class with scikit-learn.

    Args:
        labels_N: True labels.
        predicted_N: Predicted labels.
        classes_C: Order of the classes.
    """
    precision_C, recall_C, f1_C, _ = precision_recall_fscore_support(
        labels_N, predicted_N, labels=classes_C, zero_division=0
    )
    return ClassScores(precision_C, recall_C, f1_C, confusion_matrix(labels_N, predicted_N, labels=classes_C))


def most_confused(confusion_CC: NDArray[np.intp], limit: int) -> list[tuple[int, int]]:
    """Return (true, predicted) indices of the largest off-diagonal counts, largest first, zeros left out."""
    off_CC = np.where(np.eye(len(confusion_CC), dtype=bool), 0, confusion_CC)
    order = np.argsort(-off_CC, axis=None, kind="stable")[:limit]
    pairs = zip(*np.unravel_index(order, off_CC.shape), strict=True)
    return [(int(true), int(predicted)) for true, predicted in pairs if off_CC[true, predicted]]
