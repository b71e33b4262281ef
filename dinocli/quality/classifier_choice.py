"""Select and calibrate a classifier by cross-validation over the labelled images.

Shapes: M labelled images, D width, C classes, R repeats.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from dinocli.quality.classifiers import Candidate, candidates, scores_of
from dinocli.quality.folds import folds

FOLDS = 5
_MIN_PREDICTIONS = 200  # images x repeats: with few labels, cross-validation is repeated with other folds
_MAX_REPEATS = 5
_LOG_TEMPERATURE_BOUNDS = (-8.0, 5.0)


@dataclass(frozen=True)
class TriedClassifier:
    """Cross-validation result of one candidate.

    Args:
        candidate: Method and hyperparameter.
        probability_MC: Calibrated out-of-fold probabilities (neither the image nor its group was in the training
            folds); mean over repeats.
        loss_M: Log loss of each image, nats; mean over repeats.
        temperature: Temperature by which its logits are divided.
    """

    candidate: Candidate
    probability_MC: NDArray[np.float64]
    loss_M: NDArray[np.float64]
    temperature: float

    @property
    def log_loss(self) -> float:
        """Mean log loss over the images, nats."""
        return float(self.loss_M.mean())

    @property
    def confidence_M(self) -> NDArray[np.float32]:
        """Probability of the most probable class."""
        return np.asarray(self.probability_MC.max(axis=1), np.float32)

    def right(self, labels_M: NDArray[np.str_]) -> NDArray[np.bool_]:
        """Return whether the most probable class is the true one, (M,)."""
        return np.asarray(np.unique(labels_M)[self.probability_MC.argmax(axis=1)] == labels_M)


def can_be_validated(labels_M: NDArray[np.str_], groups_M: NDArray[np.str_] | None) -> bool:
    """Return whether a class has two images, or groups: one to train on and one to test on."""
    units = labels_M if groups_M is None else np.unique(np.stack([labels_M, groups_M]), axis=1)[0]
    return bool(np.unique(units, return_counts=True)[1].max() > 1)


def try_classifiers(
    rows_MD: NDArray[np.float32],
    labels_M: NDArray[np.str_],
    groups_M: NDArray[np.str_] | None = None,
    *,
    method: str = "auto",
    seed: int = 0,
) -> list[TriedClassifier]:
    """Cross-validate every candidate and sort them, best first.

    Five stratified folds, no group on both sides; with few labels, up to five repeats with other folds. Logits are
    divided by one temperature, fitted to the out-of-fold predictions. The linear probe is preferred unless another
    method has a smaller log loss by more than one standard error.

    Args:
        rows_MD: Centred rows of length 1.
        labels_M: Labels of at least two classes.
        groups_M: Group of each image (a part, a slide, a patient).
        method: One of `METHODS`, or `auto`.
        seed: Seed of the folds.

    Source: Guo et al. 2017, arXiv:1706.04599 (temperature scaling); Platt 1999 (targets below 1 for classes of few
        images, so that a few correct predictions do not give a probability of 1).
    """
    class_M = np.unique(labels_M, return_inverse=True)[1]
    rows_MD = in_row_span(rows_MD)
    repeats = max(1, min(_MAX_REPEATS, _MIN_PREDICTIONS // len(labels_M)))
    splits = [[*folds(labels_M, groups_M, FOLDS, seed=seed + repeat)] for repeat in range(repeats)]
    smallest = min(len(learn) for parts in splits for learn, _ in parts)
    results = []
    for candidate in candidates(method, smallest):
        scores_RMC = np.stack([out_of_fold(candidate, rows_MD, class_M, parts) for parts in splits])
        temperature = fit_temperature(scores_RMC, class_M)
        logs_RMC = log_softmax(scores_RMC / temperature, axis=-1)
        loss_M = -np.take_along_axis(logs_RMC, class_M[None, :, None], -1).mean(axis=(0, 2))
        results.append(TriedClassifier(candidate, np.exp(logs_RMC).mean(axis=0), loss_M, temperature))
    return _ranked(results)


def _ranked(results: list[TriedClassifier]) -> list[TriedClassifier]:
    """Sort by log loss; the best linear probe comes first unless beaten by more than one standard error."""
    ranked = sorted(results, key=lambda tried: tried.log_loss)
    linear = next((tried for tried in ranked if tried.candidate.method == "linear"), ranked[0])
    gain_M = linear.loss_M - ranked[0].loss_M
    if gain_M.mean() <= gain_M.std() / np.sqrt(len(gain_M)):
        ranked.insert(0, ranked.pop(ranked.index(linear)))
    return ranked


def in_row_span(rows_MD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rotate rows into their own span if M < D: the width becomes M, and all dot products stay the same."""
    if len(rows_MD) >= rows_MD.shape[1]:
        return rows_MD
    axes_DM, _ = np.linalg.qr(rows_MD.T.astype(np.float64))
    return np.asarray(rows_MD @ axes_DM, np.float32)


def out_of_fold(
    candidate: Candidate,
    rows_MD: NDArray[np.float32],
    class_M: NDArray[np.intp],
    parts: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> NDArray[np.float64]:
    """Return the out-of-fold logits of each image, (M, C).

    A class without a training image in a fold gets the smallest logit of the image; beside a single class that has
    training images, a smaller one.

    Args:
        candidate: Classifier to fit.
        rows_MD: Rows as `try_classifiers` takes them.
        class_M: Class index of each row.
        parts: (training, test) row indices of each fold.
    """
    scores_MC = np.full((len(class_M), int(class_M.max()) + 1), -np.inf)
    for learn, test in parts:
        known = np.unique(class_M[learn])
        if len(known) == 1:
            scores_MC[test] = 0.0
            scores_MC[test, known[0]] = 1.0
        else:
            scores_MC[np.ix_(test, known)] = scores_of(candidate.fitted(rows_MD[learn], class_M[learn]), rows_MD[test])
    lowest_M1 = np.min(scores_MC, axis=1, where=np.isfinite(scores_MC), initial=np.inf, keepdims=True)
    return np.where(np.isfinite(scores_MC), scores_MC, lowest_M1)


def fit_temperature(scores_RMC: NDArray[np.float64], class_M: NDArray[np.intp]) -> float:
    """Return the temperature that minimises the log loss of smoothed targets.

    Args:
        scores_RMC: Out-of-fold logits of each repeat.
        class_M: Class index of each image. For a class of n images the target is (n + 1) / (n + 2); the other classes
            share the rest.
    """
    classes = scores_RMC.shape[-1]
    count_M = np.bincount(class_M)[class_M]
    target_MC = np.repeat((1 / (count_M + 2) / (classes - 1))[:, None], classes, axis=1)
    target_MC[np.arange(len(class_M)), class_M] = (count_M + 1) / (count_M + 2)

    def loss(log_temperature: float) -> float:
        return -float((target_MC * log_softmax(scores_RMC / np.exp(log_temperature), axis=-1)).sum())

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_TEMPERATURE_BOUNDS, method="bounded").x))
