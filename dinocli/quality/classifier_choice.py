"""Which classifier, and how sure it is: cross-validation over the labelled images.

Shapes: M labelled images, D width, C classes, R repeats.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from dinocli.quality.classifiers import Candidate, candidates, scores_of
from dinocli.quality.folds import folds

PARTS = 5
_REPEATED_ROWS = 200  # images times repeats, so that few labels are split in several ways
_MOST_REPEATS = 5
_LOG_TEMPERATURES = (-8.0, 5.0)


@dataclass(frozen=True)
class TriedClassifier:
    """What cross-validation says of one candidate.

    Args:
        candidate: Which one.
        probability_MC: Calibrated, by classifiers that have seen neither the image nor its group; mean of all repeats.
        loss_M: Log loss of each image, nats; mean of all repeats.
        temperature: That calibrates its logits.
    """

    candidate: Candidate
    probability_MC: NDArray[np.float64]
    loss_M: NDArray[np.float64]
    temperature: float

    @property
    def log_loss(self) -> float:
        """Mean over the images, nats."""
        return float(self.loss_M.mean())

    @property
    def confidence_M(self) -> NDArray[np.float32]:
        """Probability of the likeliest class."""
        return np.asarray(self.probability_MC.max(axis=1), np.float32)

    def right(self, labels_M: NDArray[np.str_]) -> NDArray[np.bool_]:
        """Say whether that class is the right one, (M,)."""
        return np.asarray(np.unique(labels_M)[self.probability_MC.argmax(axis=1)] == labels_M)


def can_be_validated(labels_M: NDArray[np.str_], groups_M: NDArray[np.str_] | None) -> bool:
    """Say whether a class has two images, or groups: one to learn from and one to test on."""
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
    """Cross-validate every candidate, and sort them, the best first.

    Five parts, every class in every part as far as it goes, no group on both sides; a few labels are split in up to
    five ways. Logits are divided by one temperature, fitted to the predictions of images that were not learnt from.
    The linear probe is taken unless another method has a smaller log loss by more than one standard error.

    Args:
        rows_MD: Centred, of length 1.
        labels_M: At least two classes.
        groups_M: Group of each image (a part, a slide, a patient).
        method: One of `METHODS`, or `auto`.
        seed: Of the parts.

    Source: Guo et al. 2017, arXiv:1706.04599 (temperature scaling); Platt 1999 (targets short of 1 where few images
        stand for a class, so that a handful of right answers is not taken for certainty).
    """
    class_M = np.unique(labels_M, return_inverse=True)[1]
    rows_MD = in_own_span(rows_MD)
    repeats = max(1, min(_MOST_REPEATS, _REPEATED_ROWS // len(labels_M)))
    splits = [[*folds(labels_M, groups_M, PARTS, seed=seed + repeat)] for repeat in range(repeats)]
    least = min(len(learn) for parts in splits for learn, _ in parts)
    found = []
    for candidate in candidates(method, least):
        scores_RMC = np.stack([out_of_fold(candidate, rows_MD, class_M, parts) for parts in splits])
        temperature = fit_temperature(scores_RMC, class_M)
        logs_RMC = log_softmax(scores_RMC / temperature, axis=-1)
        loss_M = -np.take_along_axis(logs_RMC, class_M[None, :, None], -1).mean(axis=(0, 2))
        found.append(TriedClassifier(candidate, np.exp(logs_RMC).mean(axis=0), loss_M, temperature))
    return _ranked(found)


def _ranked(found: list[TriedClassifier]) -> list[TriedClassifier]:
    """Sort by log loss; a linear probe goes first unless another method beats it by more than one standard error."""
    ranked = sorted(found, key=lambda tried: tried.log_loss)
    linear = next((tried for tried in ranked if tried.candidate.method == "linear"), ranked[0])
    gain_M = linear.loss_M - ranked[0].loss_M
    if gain_M.mean() <= gain_M.std() / np.sqrt(len(gain_M)):
        ranked.insert(0, ranked.pop(ranked.index(linear)))
    return ranked


def in_own_span(rows_MD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn few long rows so that they need no more values than there are rows: all products stay, so all results do."""
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
    """Return the logits of each image by a classifier that has not seen it, (M, C).

    A class that a part has nothing to learn from gets the smallest logit of the image.
    """
    scores_MC = np.full((len(class_M), int(class_M.max()) + 1), -np.inf)
    for learn, test in parts:
        known = np.unique(class_M[learn])
        if len(known) == 1:
            scores_MC[test, known[0]] = 0.0
        else:
            scores_MC[np.ix_(test, known)] = scores_of(candidate.fitted(rows_MD[learn], class_M[learn]), rows_MD[test])
    least_M1 = np.min(scores_MC, axis=1, where=np.isfinite(scores_MC), initial=np.inf, keepdims=True)
    return np.where(np.isfinite(scores_MC), scores_MC, least_M1)


def fit_temperature(scores_RMC: NDArray[np.float64], class_M: NDArray[np.intp]) -> float:
    """Return the number to divide logits by, which makes the log loss of smoothed targets smallest.

    Args:
        scores_RMC: Logits of images that were not learnt from, once a repeat.
        class_M: Their classes. Of n images, the target of a class is (n + 1) / (n + 2), the others share the rest.
    """
    classes = scores_RMC.shape[-1]
    count_M = np.bincount(class_M)[class_M]
    target_MC = np.repeat((1 / (count_M + 2) / (classes - 1))[:, None], classes, axis=1)
    target_MC[np.arange(len(class_M)), class_M] = (count_M + 1) / (count_M + 2)

    def loss(log_temperature: float) -> float:
        return -float((target_MC * log_softmax(scores_RMC / np.exp(log_temperature), axis=-1)).sum())

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded").x))
