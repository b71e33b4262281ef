"""Few-shot classifiers, fitted with scikit-learn: linear probe, k-nearest neighbours, nearest class mean.

Input rows are L2-normalised, centred by the mean of the whole folder (labelled or not) and L2-normalised again: what
all images share carries no class information. Source: Wang et al. 2019, arXiv:1911.04623.

Shapes: N images, M labelled images, D width, C classes, k neighbours, R rows of one block.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from dinocli.quality.knn import TEMPERATURE
from dinocli.quality.normalized_features import NormalizedFeatures, unit_rows32

METHODS = ("linear", "knn", "mean")
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Candidates for C of the linear probe (inverse L2 penalty), for rows of length 1."""
NEIGHBOURS = (1, 3, 5, 10, 20)
"""Candidates for k."""

_MAX_ITERATIONS = 300
MIN_PROBABILITY = 1e-6
"""Probability of a class without any neighbour."""


@dataclass(frozen=True)
class Candidate:
    """A classifier and its hyperparameter.

    Args:
        method: One of `METHODS`.
        setting: C of the linear probe, or k of k-NN; 0 for the class mean.
    """

    method: str
    setting: float = 0.0

    def __str__(self) -> str:
        return {"linear": f"linear probe, C = {self.setting:g}", "knn": f"k-NN, k = {self.setting:g}"}.get(
            self.method, "nearest class mean"
        )

    def fitted(self, rows_MD: NDArray[np.floating], class_M: NDArray[np.integer]) -> Any:
        """Return the fitted scikit-learn estimator."""
        if self.method == "linear":
            estimator = LogisticRegression(C=self.setting, max_iter=_MAX_ITERATIONS)
        elif self.method == "knn":
            estimator = KNeighborsClassifier(int(self.setting), weights=_votes, algorithm="brute")
        else:
            estimator = NearestCentroid()
        with warnings.catch_warnings():
            # A weak penalty may need more iterations: the log loss judges the result. The within-class deviation, which
            # is undefined for one image a class, is not used.
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            warnings.filterwarnings("ignore", "self.within_class_std_dev_", UserWarning)
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few images a class
            return estimator.fit(rows_MD, class_M)


def candidates(method: str, training_rows: int) -> list[Candidate]:
    """Return the candidates of a method.

    Args:
        method: One of `METHODS`, or `auto` for all.
        training_rows: Size of the smallest training set of the cross-validation, the upper limit of k.
    """
    by_method = {
        "linear": [Candidate("linear", strength) for strength in STRENGTHS],
        "knn": [Candidate("knn", float(k)) for k in NEIGHBOURS if k <= training_rows],
        "mean": [Candidate("mean")],
    }
    return [candidate for name in METHODS if method in ("auto", name) for candidate in by_method[name]]


def _votes(distance_Nk: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp(cosine / temperature) up to a factor; for unit rows the squared distance is 2 - 2 cosine."""
    squared_Nk = np.square(distance_Nk)
    nearest_N1 = squared_Nk.min(axis=1, keepdims=True)
    return np.asarray(np.exp((nearest_N1 - squared_Nk) / (2 * TEMPERATURE)))


def scores_of(estimator: Any, rows_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the logits of a fitted estimator, (N, C), in the order of its classes."""
    if isinstance(estimator, LogisticRegression):
        scores = estimator.decision_function(rows_ND)
        return np.stack([-scores / 2, scores / 2], axis=1) if scores.ndim == 1 else scores
    if isinstance(estimator, NearestCentroid):  # minus half the squared distance, up to a constant
        centres_CD = estimator.centroids_
        return np.asarray(rows_ND @ centres_CD.T - np.square(centres_CD).sum(axis=1) / 2)
    return np.asarray(np.log(np.maximum(estimator.predict_proba(rows_ND), MIN_PROBABILITY)))


def centred(rows: NormalizedFeatures, mean_D: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all rows centred and L2-normalised again: the input of the classifiers, (N, D)."""
    return np.concatenate([*rows.map(lambda _, part_RD: unit_rows32(part_RD - mean_D))])


def mean_of(rows: NormalizedFeatures) -> NDArray[np.float32]:
    """Return the mean of all L2-normalised rows, (D,)."""
    sums = [*rows.map(lambda _, part_RD: part_RD.sum(axis=0, dtype=np.float64))]
    return np.asarray(np.sum(sums, axis=0) / len(rows), np.float32)


@dataclass(frozen=True)
class Classifier:
    """A fitted classifier with calibrated probabilities.

    Args:
        candidate: Method and hyperparameter.
        classes: Sorted class names.
        mean_D: Mean that is subtracted from each row.
        temperature: Temperature by which logits are divided.
        weight_CD: Weights of the linear probe or the class means; empty for k-NN.
        bias_C: Biases of the linear probe or the class means; empty for k-NN.
        rows_MD: Labelled rows for k-NN; empty otherwise.
        class_M: Class index of each labelled row for k-NN.
    """

    candidate: Candidate
    classes: list[str]
    mean_D: NDArray[np.float32]
    temperature: float
    weight_CD: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    bias_C: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    rows_MD: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    class_M: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def probabilities(self, features_ND: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return calibrated probabilities, (N, C); computed in blocks, so that features may be memory-mapped."""
        rows = NormalizedFeatures(features_ND)
        parts = rows.map(lambda _, part_RD: self._block(unit_rows32(part_RD - self.mean_D)))
        return np.concatenate([*parts] or [np.empty((0, len(self.classes)), np.float32)])

    def _block(self, rows_RD: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.candidate.method == "knn":
            neighbours = self.candidate.fitted(self.rows_MD, self.class_M)
            scores_RC = scores_of(neighbours, rows_RD)
        else:
            scores_RC = np.asarray(rows_RD @ self.weight_CD.T + self.bias_C, np.float64)
        return np.asarray(np.exp(log_softmax(scores_RC / self.temperature, axis=1)), np.float32)


def fit_classifier(
    candidate: Candidate,
    rows_MD: NDArray[np.float32],
    labels_M: NDArray[np.str_],
    *,
    mean_D: NDArray[np.float32],
    temperature: float,
) -> Classifier:
    """Fit one candidate to all labelled rows.

    Args:
        candidate: Method and hyperparameter.
        rows_MD: Rows of `centred`.
        labels_M: Class names.
        mean_D: Mean that the rows were centred by.
        temperature: Temperature by which logits are divided.
    """
    classes_C, class_M = np.unique(labels_M, return_inverse=True)
    names = [str(name) for name in classes_C]
    if candidate.method == "knn":
        return Classifier(candidate, names, mean_D, temperature, rows_MD=rows_MD, class_M=class_M.astype(np.int64))
    estimator = candidate.fitted(rows_MD, class_M)
    if candidate.method == "mean":
        weight_CD = estimator.centroids_
        bias_C = -np.square(weight_CD).sum(axis=1) / 2
    else:
        weight_CD, bias_C = estimator.coef_, estimator.intercept_
        if len(weight_CD) == 1:  # for two classes scikit-learn stores only the difference
            weight_CD, bias_C = np.stack([-weight_CD[0], weight_CD[0]]) / 2, np.array([-bias_C[0], bias_C[0]]) / 2
    return Classifier(
        candidate,
        names,
        mean_D,
        temperature,
        weight_CD=np.asarray(weight_CD, np.float32),
        bias_C=np.asarray(bias_C, np.float32),
    )
