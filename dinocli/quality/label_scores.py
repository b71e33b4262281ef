"""Scores of features against one label column: k-NN, linear probe, few-shot, retrieval and clustering.

Shapes: T images with a label, D width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.agreement import ari, hungarian_accuracy, nmi
from dinocli.quality.bootstrap import finite_mean
from dinocli.quality.few_shot_accuracy import few_shot
from dinocli.quality.kmeans import nearest, unit_kmeans
from dinocli.quality.knn import accuracy, balanced_accuracy, knn_votes, macro_f1
from dinocli.quality.linear import linear_probe, linear_transfer
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.retrieval import rank_classes
from dinocli.quality.score_table import Score

HEADLINE = "knn20_accuracy"
"""Key of the score whose difference is reported in a sentence: no training, no hyperparameter search."""

SHOTS, DRAWS, PRECISION_AT = (1, 5, 10), 20, 10


@dataclass(frozen=True)
class LabelSplit:
    """Labels, groups and train/test split of one label column.

    Args:
        column: Name of the column.
        rows_T: Rows of the features that have a label.
        labels_T: Label of each image.
        groups_T: Group of each image; None where every image is its own.
        learn_T: Training (gallery) images; None for leave-one-out and cross-validation.
    """

    column: str
    rows_T: NDArray[np.intp]
    labels_T: NDArray[np.str_]
    groups_T: NDArray[np.str_] | None
    learn_T: NDArray[np.bool_] | None

    @property
    def tested(self) -> NDArray[np.bool_]:
        """Whether each image is predicted, (T,)."""
        return np.ones(len(self.rows_T), np.bool_) if self.learn_T is None else ~self.learn_T


def small_class_note(truth: LabelSplit) -> str:
    """Return a sentence if the smallest class has fewer images than scores are named after; else empty."""
    learn_T = np.ones(len(truth.rows_T), np.bool_) if truth.learn_T is None else truth.learn_T
    _, sizes_C = np.unique(truth.labels_T[learn_T], return_counts=True)
    least = int(sizes_C.min()) - (truth.learn_T is None)  # one is tested
    fewer = [f"few_shot_{shots}" for shots in SHOTS if shots > least]
    if not fewer:
        return ""
    return (
        f"{truth.column}: the smallest class has {least} images to learn from: {' and '.join(fewer)} take no more, and "
        f"retrieval_p{PRECISION_AT} cannot reach 1"
    )


def label_scores(features_TD: NDArray[np.floating], truth: LabelSplit, *, seed: int = 0) -> list[Score]:
    """Return all scores of the features against the labels.

    Args:
        features_TD: Features of the images of `truth`, in its order.
        truth: Labels, groups and split.
        seed: Seed of folds, draws and k-means.
    """
    return [
        _largest_class(truth),
        *_neighbours(features_TD, truth),
        *_linear(features_TD, truth, seed),
        *_few_shots(features_TD, truth, seed),
        *_retrieval(features_TD, truth),
        *_clusters(features_TD, truth, seed),
    ]


def _largest_class(truth: LabelSplit) -> Score:
    counts = np.unique(truth.labels_T[truth.tested], return_counts=True)[1]
    return Score("largest_class", "share of the largest class", float(counts.max() / counts.sum()))


def _neighbours(features_TD: NDArray[np.floating], truth: LabelSplit) -> list[Score]:
    labels = truth.labels_T[truth.tested]
    ten, twenty = (
        knn_votes(features_TD, truth.labels_T, k=k, groups_N=truth.groups_T, learn_N=truth.learn_T).predicted_Q
        for k in (10, 20)
    )
    return [
        Score("knn10_accuracy", "k-NN accuracy, k = 10", accuracy(labels, ten), "higher", _right(labels, ten)),
        Score("knn20_accuracy", "k-NN accuracy, k = 20", accuracy(labels, twenty), "higher", _right(labels, twenty)),
        Score("knn20_macro_f1", "k-NN macro F1, k = 20", macro_f1(labels, twenty), "higher", twenty, "macro F1"),
    ]


def _linear(features_TD: NDArray[np.floating], truth: LabelSplit, seed: int) -> list[Score]:
    labels, groups, learn = truth.labels_T[truth.tested], truth.groups_T, truth.learn_T
    if learn is None:
        predicted = linear_probe(features_TD, truth.labels_T, groups_N=groups, seed=seed)
    else:
        predicted = linear_transfer(
            features_TD[learn],
            truth.labels_T[learn],
            features_TD[~learn],
            groups_M=None if groups is None else groups[learn],
            seed=seed,
        )
    balanced = balanced_accuracy(labels, predicted)
    return [
        Score(
            "linear_accuracy", "linear probe accuracy", accuracy(labels, predicted), "higher", _right(labels, predicted)
        ),
        Score("linear_balanced", "linear probe mean recall", balanced, "higher", predicted, "balanced accuracy"),
        Score("linear_macro_f1", "linear probe macro F1", macro_f1(labels, predicted), "higher", predicted, "macro F1"),
    ]


def _few_shots(features_TD: NDArray[np.floating], truth: LabelSplit, seed: int) -> list[Score]:
    scores = []
    for shots in SHOTS:
        share = few_shot(
            features_TD,
            truth.labels_T,
            shots,
            draws=DRAWS,
            groups_N=truth.groups_T,
            learn_N=truth.learn_T,
            seed=seed,
        )
        name = f"{shots} labelled image{'s' * (shots > 1)} a class, accuracy"
        scores.append(Score(f"few_shot_{shots}", name, finite_mean(share), "higher", share))
    return scores


def _retrieval(features_TD: NDArray[np.floating], truth: LabelSplit) -> list[Score]:
    average, precision = rank_classes(
        features_TD, truth.labels_T, first=PRECISION_AT, groups_N=truth.groups_T, learn_N=truth.learn_T
    )
    name = f"retrieval precision@{PRECISION_AT}"
    return [
        Score("retrieval_map", "retrieval mAP", finite_mean(average), "higher", average),
        Score(f"retrieval_p{PRECISION_AT}", name, finite_mean(precision), "higher", precision),
    ]


def _clusters(features_TD: NDArray[np.floating], truth: LabelSplit, seed: int) -> list[Score]:
    """Score the clustering of `dinocli cluster -k`, with as many clusters as classes.

    Without an interval: k-means varies more with its starts than with the images.
    """
    labels = truth.labels_T[truth.tested]
    rows = NormalizedFeatures(features_TD[truth.tested])
    clusters = nearest(rows.take(slice(None)), unit_kmeans(rows, len(np.unique(labels)), seed=seed).centres_KD)
    return [
        Score("kmeans_nmi", "k-means NMI", nmi(labels, clusters), "higher"),
        Score("kmeans_ari", "k-means ARI", ari(labels, clusters), "higher"),
        Score("kmeans_accuracy", "k-means Hungarian accuracy", hungarian_accuracy(labels, clusters), "higher"),
    ]


def _right(labels: NDArray[np.str_], predicted: NDArray[np.str_]) -> NDArray[np.float64]:
    return np.asarray(labels == predicted, np.float64)
