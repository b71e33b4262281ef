"""Linear probe: logistic regression on frozen features.

Shapes: N images, M images to learn from, D width, C classes.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from dinocli.quality.cosine import unit_rows
from dinocli.quality.folds import folds

STRENGTHS = tuple(10.0**power for power in range(-4, 3))
"""Values of C, the inverse of the penalty, from which the best is chosen."""

_OUTER, _INNER = 5, 4
_ITERATIONS = 300


def linear_probe(
    features_ND: NDArray[np.floating],
    labels_N: NDArray[Any],
    *,
    groups_N: NDArray[Any] | None = None,
    seed: int = 0,
) -> NDArray[Any]:
    """Predict every label by a logistic regression that has seen neither the image nor its group.

    Five parts; the penalty is chosen inside the other four, never on the part that is predicted.

    Args:
        features_ND: Finite features.
        labels_N: One label per image, of any sortable type, at least two different ones.
        groups_N: One group per image (a part, a slide, a patient), never on both sides of any split.
        seed: Of the parts.

    Returns:
        One predicted label per image, of the type of `labels_N`.
    """
    predicted_N = np.empty_like(labels_N)
    for learn, test in folds(labels_N, groups_N, _OUTER, seed=seed):
        groups = None if groups_N is None else groups_N[learn]
        predicted_N[test] = linear_transfer(
            features_ND[learn], labels_N[learn], features_ND[test], groups_M=groups, seed=seed
        )
    return predicted_N


def linear_transfer(
    features_MD: NDArray[np.floating],
    labels_M: NDArray[Any],
    test_ND: NDArray[np.floating],
    *,
    groups_M: NDArray[Any] | None = None,
    seed: int = 0,
) -> NDArray[Any]:
    """Learn from some images, predict others.

    Rows are scaled to length 1, as for the neighbours, centred, and scaled by one number for all dimensions, so that
    the penalties mean the same for every network. Classes count alike, however rare.

    Args:
        features_MD: Finite features to learn from.
        labels_M: Their labels.
        test_ND: Finite features of the images to predict.
        groups_M: Groups of the images to learn from, kept together when the penalty is chosen.
        seed: Of the part that chooses the penalty.

    Returns:
        One predicted label per row of `test_ND`.

    Source: DINO evaluates with one linear layer and SGD. Departs: the same model by L-BFGS, with a penalty that is
        chosen on a quarter of the training images by log loss.
    """
    if len(np.unique(labels_M)) == 1:
        return np.repeat(labels_M[:1], len(test_ND))
    units_MD = unit_rows(features_MD)
    mean_D, scale = units_MD.mean(axis=0), units_MD.std()
    rows_MD, rows_ND = (
        ((units - mean_D) / (scale or 1.0)).astype(np.float32) for units in (units_MD, unit_rows(test_ND))
    )
    with warnings.catch_warnings():
        # Weak penalties may need more passes; they are stopped, and the log loss judges what they came to.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = _model(_strength(rows_MD, labels_M, groups_M, seed)).fit(rows_MD, labels_M)
    return np.asarray(model.predict(rows_ND))


def _strength(rows_MD: NDArray[np.float32], labels_M: NDArray[Any], groups_M: NDArray[Any] | None, seed: int) -> float:
    """Choose C on one inner part by the log loss, which is far less noisy than the accuracy."""
    learn, check = next(iter(folds(labels_M, groups_M, _INNER, seed=seed)))
    known = np.isin(labels_M[check], labels_M[learn])  # a class of one image cannot be on both sides
    check = check[known]
    if len(np.unique(labels_M[learn])) == 1 or not len(check):
        return 1.0
    model = _model(STRENGTHS[0], warm_start=True)
    losses = []
    for strength in STRENGTHS:  # each solution starts the next
        model.C = strength
        model.fit(rows_MD[learn], labels_M[learn])
        losses.append(log_loss(labels_M[check], model.predict_proba(rows_MD[check]), labels=model.classes_))
        if losses[-1] > 1.5 * min(losses):  # it only gets worse, and slower
            break
    return STRENGTHS[int(np.argmin(losses))]


def _model(strength: float, *, warm_start: bool = False) -> LogisticRegression:
    return LogisticRegression(C=strength, class_weight="balanced", max_iter=_ITERATIONS, warm_start=warm_start)
