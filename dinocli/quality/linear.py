"""Linear probe: logistic regression on frozen features.

Shapes: N images, M training images, D width, C classes.
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
"""Candidates for C, the inverse L2 penalty."""

_OUTER_FOLDS, _INNER_FOLDS = 5, 4
_MAX_ITERATIONS = 300


def linear_probe(
    features_ND: NDArray[np.floating],
    labels_N: NDArray[Any],
    *,
    groups_N: NDArray[Any] | None = None,
    seed: int = 0,
) -> NDArray[Any]:
    """Predict every label by nested five-fold cross-validation of a logistic regression.

    The penalty is selected within the four training folds. No group is on both sides of a split.

    Args:
        features_ND: Finite features.
        labels_N: One label per image, of any sortable type; at least two classes.
        groups_N: One group per image (a part, a slide, a patient).
        seed: Seed of the folds.

    Returns:
        One predicted label per image, of the type of `labels_N`.
    """
    predicted_N = np.empty_like(labels_N)
    for learn, test in folds(labels_N, groups_N, _OUTER_FOLDS, seed=seed):
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
    """Fit a linear probe to the training images and predict the labels of the test images.

    Rows are L2-normalised, as for k-NN, centred, and divided by one standard deviation over all dimensions, so that a
    penalty means the same for every network. Class weights are balanced.

    Args:
        features_MD: Finite features of the training images.
        labels_M: Labels of the training images.
        test_ND: Finite features of the test images.
        groups_M: Groups of the training images, kept together when the penalty is selected.
        seed: Seed of the validation fold.

    Returns:
        One predicted label per row of `test_ND`.

    Source: DINO evaluates with one linear layer and SGD. Departs: the same model fitted by L-BFGS, with a penalty
        selected by log loss on a quarter of the training images.
    """
    if len(np.unique(labels_M)) == 1:
        return np.repeat(labels_M[:1], len(test_ND))
    units_MD = unit_rows(features_MD)
    mean_D, scale = units_MD.mean(axis=0), units_MD.std()
    rows_MD, rows_ND = (
        ((units - mean_D) / (scale or 1.0)).astype(np.float32) for units in (units_MD, unit_rows(test_ND))
    )
    with warnings.catch_warnings():
        # Weak penalties may need more iterations; they are stopped, and the log loss judges the result.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few images a class are normal
        model = _model(_strength(rows_MD, labels_M, groups_M, seed)).fit(rows_MD, labels_M)
    return np.asarray(model.predict(rows_ND))


def _strength(rows_MD: NDArray[np.float32], labels_M: NDArray[Any], groups_M: NDArray[Any] | None, seed: int) -> float:
    """Select C on one inner fold by log loss, which is far less noisy than accuracy."""
    groups = 2 if groups_M is None else len(np.unique(groups_M))
    if groups < 2 or np.unique(labels_M, return_counts=True)[1].max() < 2:  # nothing can be held out
        return 1.0
    learn, check = next(iter(folds(labels_M, groups_M, _INNER_FOLDS, seed=seed)))
    known = np.isin(labels_M[check], labels_M[learn])  # a class of one image is only on one side
    check = check[known]
    if len(np.unique(labels_M[learn])) == 1 or not len(check):
        return 1.0
    model = _model(STRENGTHS[0], warm_start=True)
    losses = []
    for strength in STRENGTHS:  # each solution is the initial value of the next
        model.C = strength
        model.fit(rows_MD[learn], labels_M[learn])
        losses.append(log_loss(labels_M[check], model.predict_proba(rows_MD[check]), labels=model.classes_))
        if losses[-1] > 1.5 * min(losses):  # weaker penalties are only worse and slower
            break
    return STRENGTHS[int(np.argmin(losses))]


def _model(strength: float, *, warm_start: bool = False) -> LogisticRegression:
    return LogisticRegression(C=strength, class_weight="balanced", max_iter=_MAX_ITERATIONS, warm_start=warm_start)
