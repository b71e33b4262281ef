"""What a page shows by one label column: confusions and worst images, seen, classes, reliability.

Everything about single images is by k-NN with k = 20, leave-one-out or from one side to the other, as the headline is.

Shapes: Q images that are predicted, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.compared_features import ComparedFeatures
from dinocli.quality.class_scores import ClassScores, class_scores, most_confused
from dinocli.quality.knn import NeighbourVotes, knn_votes
from dinocli.quality.label_scores import LabelSplit
from dinocli.quality.reliability import Reliability, reliability
from dinocli.report.chart import Curve
from dinocli.report.confusion_table import ConfusionMatrix, ConfusionTables
from dinocli.report.page import Cell, Part, Table
from dinocli.report.page_parts import Charts
from dinocli.report.picture import Picture
from dinocli.report.picture_table import FramedPicture, PictureRow, PictureTable
from dinocli.report.text import number
from dinocli.report.thumbnails import MIME, Thumbnails

MOST_CLASSES, MOST_LINES = 20, 100
CONFUSIONS, EXAMPLES, WORST, NEIGHBOURS = 8, 6, 20, 5
THUMBNAIL = 96


@dataclass(frozen=True)
class PredictedSide:
    """What k-NN makes of the labelled images by one set of features.

    Args:
        title: Of the features.
        votes: Of their neighbours, as places among the images of the labels.
        scores: Of the classes.
        trust: Confidence against accuracy.
    """

    title: str
    votes: NeighbourVotes
    scores: ClassScores
    trust: Reliability


def label_parts(sides: Sequence[ComparedFeatures], truth: LabelSplit) -> list[Part]:
    """Show everything about one label column."""
    labels_Q, classes_C = truth.labels_T[truth.tested], np.unique(truth.labels_T)
    predicted = [_predict(side, truth, labels_Q, classes_C) for side in sides]
    parts: list[Part] = [_confusion(predicted, classes_C, truth.column)]
    pictures = Pictures(sides[0], truth)
    if pictures.known:
        parts += [_confused(predicted, classes_C, labels_Q, pictures), _worst(predicted, labels_Q, pictures)]
    return [
        *parts,
        _class_table(predicted, classes_C, truth),
        Charts([_trust_curve(predicted)], f"Reliability, {truth.column}"),
    ]


def _predict(
    side: ComparedFeatures, truth: LabelSplit, labels_Q: NDArray[np.str_], classes_C: NDArray[np.str_]
) -> PredictedSide:
    features_TD = side.features(truth.rows_T)
    votes = knn_votes(features_TD, truth.labels_T, groups_N=truth.groups_T, learn_N=truth.learn_T)
    trust = reliability(votes.confidence_Q, votes.predicted_Q == labels_Q)
    return PredictedSide(side.title, votes, class_scores(labels_Q, votes.predicted_Q, classes_C), trust)


def _confusion(predicted: Sequence[PredictedSide], classes_C: NDArray[np.str_], column: str) -> ConfusionTables:
    """Show all classes, or those that are confused most."""
    wrong_C = np.zeros(len(classes_C))
    for side in predicted:
        off_CC = np.where(np.eye(len(classes_C), dtype=bool), 0, side.scores.confusion_CC)
        wrong_C += off_CC.sum(axis=0) + off_CC.sum(axis=1)
    shown = np.sort(np.argsort(-wrong_C, kind="stable")[:MOST_CLASSES])
    left_out = len(classes_C) - len(shown)
    note = "Number of images; k-NN, k = 20."
    if left_out:
        note += f" The {len(shown)} classes with most confusions; {left_out} others are left out."
    matrices = [
        ConfusionMatrix(side.title, classes_C[shown].tolist(), side.scores.confusion_CC[np.ix_(shown, shown)].tolist())
        for side in predicted
    ]
    return ConfusionTables(f"Confusion matrix, {column}", matrices, note)


class Pictures:
    """Small pictures of the images of one label column, made when they are asked for.

    Args:
        side: Whose images.
        truth: Which of them, and their labels.
    """

    def __init__(self, side: ComparedFeatures, truth: LabelSplit) -> None:
        self.known = side.file.root is not None
        self.tested = np.flatnonzero(truth.tested)
        self._labels_T, self._rows_T, self._names = truth.labels_T, side.rows_N[truth.rows_T], side.file.names
        self._thumbnails = Thumbnails(side.file, THUMBNAIL)
        self._made: dict[int, Picture] = {}

    def framed(self, place: int, true_label: str = "") -> FramedPicture:
        """Return one image with its label; with a frame where the label of the image that it stands beside is given."""
        row, label = int(self._rows_T[place]), str(self._labels_T[place])
        if row not in self._made:
            (data,) = self._thumbnails.encoded([row])
            self._made[row] = Picture(data, MIME)
        frame = "" if not true_label else "right" if label == true_label else "wrong"
        return FramedPicture(self._made[row], self._names[row], label, frame)  # type: ignore[arg-type]


def _confused(
    predicted: Sequence[PredictedSide], classes_C: NDArray[np.str_], labels_Q: NDArray[np.str_], pictures: Pictures
) -> PictureTable:
    """Show images of the most frequent confusions of the features, the surest first."""
    rows, own = [], predicted[0]
    for true, guess in most_confused(own.scores.confusion_CC, CONFUSIONS):
        chosen = np.flatnonzero((labels_Q == classes_C[true]) & (own.votes.predicted_Q == classes_C[guess]))
        chosen = chosen[np.argsort(-own.votes.confidence_Q[chosen], kind="stable")][:EXAMPLES]
        counts = [number(int(side.scores.confusion_CC[true, guess])) for side in predicted]
        shown = [pictures.framed(int(pictures.tested[place])) for place in chosen]
        rows.append(PictureRow([str(classes_C[true]), str(classes_C[guess]), *counts], shown))
    header = ["true", "predicted", *(f"images, {side.title}" for side in predicted), "examples, the surest first"]
    return PictureTable("Most frequent confusions", header, rows, f"Examples by {own.title}.")


def _worst(predicted: Sequence[PredictedSide], labels_Q: NDArray[np.str_], pictures: Pictures) -> PictureTable:
    own = predicted[0].votes
    wrong = np.flatnonzero(own.predicted_Q != labels_Q)
    wrong = wrong[np.lexsort((-own.confidence_Q[wrong], own.own_Q[wrong]))][:WORST]
    rows = []
    for place in wrong.tolist():
        label = str(labels_Q[place])
        for line, side in enumerate(predicted):
            heading = f"{side.votes.predicted_Q[place]}, {side.votes.confidence_Q[place]:.0%}"
            nearest = [int(found) for found in side.votes.nearest_Qk[place][:NEIGHBOURS] if found >= 0]
            shown = [pictures.framed(found, label) for found in nearest]
            subject = None if line else pictures.framed(int(pictures.tested[place]))
            rows.append(PictureRow([side.title, heading], shown, subject))
    header = ["image, its label", "features", "predicted, confidence", "nearest neighbours, their labels"]
    return PictureTable("Worst images", header, rows, f"Wrong by {predicted[0].title}, the surest first.")


def _class_table(predicted: Sequence[PredictedSide], classes_C: NDArray[np.str_], truth: LabelSplit) -> Table:
    own, counts_C = predicted[0].scores, predicted[0].scores.confusion_CC.sum(axis=1)
    tested = np.flatnonzero(counts_C)
    order = tested[np.argsort(own.f1_C[tested], kind="stable")][:MOST_LINES]
    header = ["class", "images", "precision", "recall", "F1"]
    rows: list[list[Cell]] = []
    for place in order.tolist():
        cells: list[Cell] = [str(classes_C[place]), int(counts_C[place])]
        cells += [float(values_C[place]) for values_C in (own.precision_C, own.recall_C, own.f1_C)]
        for other in predicted[1:]:
            cells += [float(other.scores.f1_C[place]), f"{own.f1_C[place] - other.scores.f1_C[place]:+.3f}"]
        rows.append(cells)
    if len(predicted) > 1:
        header += [f"F1, {predicted[1].title}", "difference"]
    rest = len(tested) - len(order)
    note = f"{predicted[0].title}, k-NN, k = 20, lowest F1 first" + (
        f"; {rest} better classes are left out." if rest else "."
    )
    return Table(f"Classes of {truth.column}", header, rows, note)


def _trust_curve(predicted: Sequence[PredictedSide]) -> Curve:
    bins = len(predicted[0].trust.counts_B)
    series = {
        f"{side.title}, calibration error {side.trust.error:.3f}": side.trust.accuracy_B.tolist() for side in predicted
    }
    middles = [(place + 0.5) / bins for place in range(bins)]
    return Curve(
        "Accuracy by confidence",
        "confidence of k-NN",
        "accuracy",
        middles,
        {**series, "reliable": middles},
        shows_last=False,
    )
