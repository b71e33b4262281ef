"""Page sections about one label column: confusion matrix, confused and worst images, classes, reliability.

Predictions of images are by k-NN, k = 20, leave-one-out or with the train/test split, as for the headline score.

Shapes: T images with labels, Q images that are predicted, C classes.
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
from dinocli.report.thumbnails import Thumbnails

MAX_MATRIX_CLASSES, MAX_TABLE_ROWS = 20, 100
MAX_CONFUSIONS, MAX_EXAMPLES, MAX_WORST_IMAGES, MAX_NEIGHBOURS = 8, 6, 20, 5
THUMBNAIL_PIXELS = 96


@dataclass(frozen=True)
class PredictedSide:
    """k-NN predictions of the labelled images by one set of features.

    Args:
        title: Name of the features.
        votes: Votes of the neighbours; `nearest_Qk` indexes the T labelled images.
        scores: Scores of the classes.
        reliability: Accuracy by confidence.
    """

    title: str
    votes: NeighbourVotes
    scores: ClassScores
    reliability: Reliability


def label_parts(sides: Sequence[ComparedFeatures], truth: LabelSplit) -> list[Part]:
    """Return the sections of one label column; those with pictures only if the folder of the images is known."""
    labels_Q, classes_C = truth.labels_T[truth.tested], np.unique(truth.labels_T)
    predicted = [_predict(side, truth, labels_Q, classes_C) for side in sides]
    parts: list[Part] = [_confusion(predicted, classes_C, truth.column)]
    pictures = Pictures(sides[0], truth)
    if pictures.known:
        parts += [_confused(predicted, classes_C, labels_Q, pictures), _worst(predicted, labels_Q, pictures)]
    return [
        *parts,
        _class_table(predicted, classes_C, truth),
        Charts([_reliability_curve(predicted)], f"Reliability, {truth.column}"),
    ]


def _predict(
    side: ComparedFeatures, truth: LabelSplit, labels_Q: NDArray[np.str_], classes_C: NDArray[np.str_]
) -> PredictedSide:
    features_TD = side.features(truth.rows_T)
    votes = knn_votes(features_TD, truth.labels_T, groups_N=truth.groups_T, learn_N=truth.learn_T)
    calibration = reliability(votes.confidence_Q, votes.predicted_Q == labels_Q)
    return PredictedSide(side.title, votes, class_scores(labels_Q, votes.predicted_Q, classes_C), calibration)


def _confusion(predicted: Sequence[PredictedSide], classes_C: NDArray[np.str_], column: str) -> ConfusionTables:
    """Build the confusion matrices of all classes, or of the `MAX_MATRIX_CLASSES` with the most errors."""
    errors_C = np.zeros(len(classes_C))
    for side in predicted:
        errors_CC = np.where(np.eye(len(classes_C), dtype=bool), 0, side.scores.confusion_CC)
        errors_C += errors_CC.sum(axis=0) + errors_CC.sum(axis=1)
    shown = np.sort(np.argsort(-errors_C, kind="stable")[:MAX_MATRIX_CLASSES])
    omitted = len(classes_C) - len(shown)
    note = "Number of images; k-NN, k = 20."
    if omitted:
        note += f" The {len(shown)} classes with most confusions; {omitted} others are left out."
    matrices = [
        ConfusionMatrix(side.title, classes_C[shown].tolist(), side.scores.confusion_CC[np.ix_(shown, shown)].tolist())
        for side in predicted
    ]
    return ConfusionTables(f"Confusion matrix, {column}", matrices, note)


class Pictures:
    """Thumbnails of the images of one label column, created on demand.

    Args:
        side: Features, which know the image files.
        truth: The labelled images, and their labels.
    """

    def __init__(self, side: ComparedFeatures, truth: LabelSplit) -> None:
        self.known = side.file.root is not None
        self.tested = np.flatnonzero(truth.tested)
        self._labels_T, self._rows_T, self._names = truth.labels_T, side.rows_N[truth.rows_T], side.file.names
        self._thumbnails = Thumbnails(side.file, THUMBNAIL_PIXELS)
        self._cache: dict[int, Picture] = {}

    def framed(self, index: int, true_label: str = "") -> FramedPicture:
        """Return the picture of a labelled image; `true_label`, if given, is compared with its label by a frame."""
        row, label = int(self._rows_T[index]), str(self._labels_T[index])
        if row not in self._cache:
            (self._cache[row],) = self._thumbnails.encoded([row])
        frame = "" if not true_label else "right" if label == true_label else "wrong"
        return FramedPicture(self._cache[row], self._names[row], label, frame)  # type: ignore[arg-type]


def _confused(
    predicted: Sequence[PredictedSide], classes_C: NDArray[np.str_], labels_Q: NDArray[np.str_], pictures: Pictures
) -> PictureTable:
    """Show examples of the most frequent confusions of the first features, highest confidence first."""
    rows, first = [], predicted[0]
    for true, guess in most_confused(first.scores.confusion_CC, MAX_CONFUSIONS):
        confused = np.flatnonzero((labels_Q == classes_C[true]) & (first.votes.predicted_Q == classes_C[guess]))
        confused = confused[np.argsort(-first.votes.confidence_Q[confused], kind="stable")][:MAX_EXAMPLES]
        counts = [number(int(side.scores.confusion_CC[true, guess])) for side in predicted]
        shown = [pictures.framed(int(pictures.tested[index])) for index in confused]
        rows.append(PictureRow([str(classes_C[true]), str(classes_C[guess]), *counts], shown))
    header = [
        "true",
        "predicted",
        *(f"images, {side.title}" for side in predicted),
        "examples, highest confidence first",
    ]
    return PictureTable("Most frequent confusions", header, rows, f"Examples by {first.title}.")


def _worst(predicted: Sequence[PredictedSide], labels_Q: NDArray[np.str_], pictures: Pictures) -> PictureTable:
    """Show the worst errors of the first features with their neighbours by all features."""
    first = predicted[0].votes
    wrong = np.flatnonzero(first.predicted_Q != labels_Q)
    wrong = wrong[np.lexsort((-first.confidence_Q[wrong], first.own_Q[wrong]))][:MAX_WORST_IMAGES]
    rows = []
    for image in wrong.tolist():
        label = str(labels_Q[image])
        for line, side in enumerate(predicted):
            prediction = f"{side.votes.predicted_Q[image]}, {side.votes.confidence_Q[image]:.0%}"
            nearest = [int(index) for index in side.votes.nearest_Qk[image][:MAX_NEIGHBOURS] if index >= 0]
            shown = [pictures.framed(index, label) for index in nearest]
            subject = None if line else pictures.framed(int(pictures.tested[image]))
            rows.append(PictureRow([side.title, prediction], shown, subject))
    header = ["image, its label", "features", "predicted, confidence", "nearest neighbours, their labels"]
    note = f"Errors of {predicted[0].title}, highest confidence first."
    return PictureTable("Worst images", header, rows, note)


def _class_table(predicted: Sequence[PredictedSide], classes_C: NDArray[np.str_], truth: LabelSplit) -> Table:
    first, counts_C = predicted[0].scores, predicted[0].scores.confusion_CC.sum(axis=1)
    tested = np.flatnonzero(counts_C)
    order = tested[np.argsort(first.f1_C[tested], kind="stable")][:MAX_TABLE_ROWS]
    header = ["class", "images", "precision", "recall", "F1"]
    rows: list[list[Cell]] = []
    for index in order.tolist():
        cells: list[Cell] = [str(classes_C[index]), int(counts_C[index])]
        cells += [float(values_C[index]) for values_C in (first.precision_C, first.recall_C, first.f1_C)]
        for other in predicted[1:]:
            cells += [float(other.scores.f1_C[index]), f"{first.f1_C[index] - other.scores.f1_C[index]:+.3f}"]
        rows.append(cells)
    if len(predicted) > 1:
        header += [f"F1, {predicted[1].title}", "difference"]
    omitted = len(tested) - len(order)
    note = f"{predicted[0].title}, k-NN, k = 20, lowest F1 first" + (
        f"; {omitted} better classes are left out." if omitted else "."
    )
    return Table(f"Classes of {truth.column}", header, rows, note)


def _reliability_curve(predicted: Sequence[PredictedSide]) -> Curve:
    bins = len(predicted[0].reliability.counts_B)
    series = {
        f"{side.title}, calibration error {side.reliability.error:.3f}": side.reliability.accuracy_B.tolist()
        for side in predicted
    }
    middles = [(index + 0.5) / bins for index in range(bins)]
    return Curve(
        "Accuracy by confidence",
        "confidence of k-NN",
        "accuracy",
        middles,
        {**series, "reliable": middles},
        shows_last=False,
    )
