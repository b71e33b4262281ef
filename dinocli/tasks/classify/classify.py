"""`dinocli.classify`: features, labels, classifier, threshold, predictions, suggestions, files, in this order.

Shapes: N rows, M labelled rows, D width, C classes.
"""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.artifacts.image_coco import ImageTag, write_image_coco
from dinocli.data.text_tables import write_table
from dinocli.file_set import FileSet, claimed
from dinocli.files import user_path
from dinocli.progress import LogReporter, ProgressReporter
from dinocli.quality.active_learning import suggest
from dinocli.quality.classifier_choice import TriedClassifier, can_be_validated, try_classifiers
from dinocli.quality.classifier_file import SavedClassifier, load_classifier, save_classifier
from dinocli.quality.classifiers import Candidate, centred, fit_classifier, mean_of
from dinocli.quality.knn import accuracy, balanced_accuracy
from dinocli.quality.normalized_features import NormalizedFeatures, block_threads, single_threaded
from dinocli.quality.selective_classification import REJECT_ALL, class_shares, min_labels, precision_threshold
from dinocli.tasks.classify.classify_inputs import open_classified, origin, read_training_labels, sampled
from dinocli.tasks.classify.classify_options import AUTO_METHOD, ClassCounts, ClassifyOptions, ClassifyResult
from dinocli.tasks.classify.predictions_table import Predictions, write_predictions
from dinocli.tasks.feature_inputs import check_labels, takes_features

UNCALIBRATED_TEMPERATURE = 0.1
"""Temperature of the logits if there are too few labels for calibration."""


class Learnt(NamedTuple):
    """A classifier trained on labels, or loaded.

    Args:
        saved: The classifier.
        label_N: Label of each row; empty without one.
        rows_M: Training rows.
        tried: Cross-validated candidates, best first; empty if cross-validation was not possible.
        column: Name of the label column.
    """

    saved: SavedClassifier
    label_N: NDArray[np.str_]
    rows_M: NDArray[np.intp]
    tried: list[TriedClassifier]
    column: str


def classify(
    options: ClassifyOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> ClassifyResult:
    """Train a classifier on a few labelled images, and predict all others.

    Example:
        >>> result = dinocli.classify(dinocli.ClassifyOptions(("feats.npy",), labels=("labels.csv",)))
        >>> [found.name for found in result.classes]
        ['a', 'b']

    Args:
        options: Features or images, labels or classifier, and outputs.
        reporter: Receives the progress.
        stdin: Standard input, for `-`.

    Raises:
        DinocliError: Features, labels or the saved classifier cannot be used, or an output exists.
    """
    with claimed(*options.outputs()):
        options.check_outputs()
        return _classify(options, reporter or LogReporter(), stdin)


def _classify(options: ClassifyOptions, reporter: ProgressReporter, stdin: BinaryIO | None) -> ClassifyResult:
    began = time.monotonic()
    saved = load_classifier(user_path(options.classifier)) if options.classifier else None
    if not saved:
        check_labels(options, *options.labels)
    features = open_classified(options, saved, reporter, stdin)
    reporter.stage("classifying")
    with single_threaded():
        learnt = _known(options, saved, features) if saved else _learn(options, features, reporter)
        probability_NC = learnt.saved.classifier.probabilities(features.flat())
        found = _predictions(learnt, probability_NC, _threshold(learnt, probability_NC, reporter))
        rows = NormalizedFeatures(features.flat(), threads=block_threads())
        wanted = (
            suggest(rows, probability_NC, learnt.label_N == "", options.suggest, seed=options.seed)
            if options.suggest
            else []
        )
    _write(options, features, learnt, found, wanted, reporter)
    outcome = _outcome(options, features, learnt, found, _images_of(features.names, wanted))
    return replace(outcome, seconds=time.monotonic() - began)


def _known(options: ClassifyOptions, saved: SavedClassifier, features: FeatureFile) -> Learnt:
    """Use a saved classifier, with another precision if one is given."""
    if options.precision is not None:
        saved = replace(saved, precision=options.precision)
    return Learnt(saved, np.full(len(features), ""), np.empty(0, np.intp), [], "label")


def _learn(options: ClassifyOptions, features: FeatureFile, reporter: ProgressReporter) -> Learnt:
    """Choose a classifier by cross-validation, and fit it on all labelled rows."""
    label_N, groups_N, column = read_training_labels(options, features.names, reporter)
    rows_M = sampled(label_N, reporter, options.seed)
    labels_M, groups_M = label_N[rows_M], None if groups_N is None else groups_N[rows_M]
    mean_D = mean_of(NormalizedFeatures(features.flat(), threads=block_threads()))
    rows_MD = centred(NormalizedFeatures(features.flat()[rows_M]), mean_D)
    reporter.line(f"{len(rows_M):,} of {len(label_N):,} images have one of {len(set(labels_M))} labels ({column})")
    reporter.stage("choosing a classifier")
    if can_be_validated(labels_M, groups_M):
        tried = try_classifiers(rows_MD, labels_M, groups_M, method=options.method, seed=options.seed)
        candidate, temperature = tried[0].candidate, tried[0].temperature
        shown = tried[0].confidence_M, tried[0].right(labels_M), np.unique(labels_M, return_inverse=True)[1]
    else:
        reporter.warn("no class has two labelled images (or groups): confidences are not calibrated")
        method = "mean" if options.method == AUTO_METHOD else options.method
        tried, candidate, temperature = [], Candidate(method, 1.0), UNCALIBRATED_TEMPERATURE
        shown = np.empty(0, np.float32), np.empty(0, np.bool_), np.empty(0, np.int64)
    classifier = fit_classifier(candidate, rows_MD, labels_M, mean_D=mean_D, temperature=temperature)
    features_of, state = origin(features)
    saved = SavedClassifier(classifier, *shown, options.precision or 0.0, features_of, state)
    return Learnt(saved, label_N, rows_M, tried, column)


def _threshold(learnt: Learnt, probability_NC: NDArray[np.float32], reporter: ProgressReporter) -> float:
    """Return the confidence from which predictions are accepted; warn if no threshold can show the precision.

    The precision has to hold for the class frequencies of the labels, and for those estimated in the unlabelled images:
    labels may have been drawn class by class.
    """
    saved = learnt.saved
    if not saved.precision:
        return 0.0
    threshold, shown = REJECT_ALL, (saved.confidence_M, saved.right_M, saved.precision)
    if len(saved.truth_M):
        labelled_C = np.bincount(saved.truth_M, minlength=len(saved.classifier.classes)) / len(saved.truth_M)
        unlabelled_N = learnt.label_N == ""
        weight_C = (
            class_shares(probability_NC[unlabelled_N] if unlabelled_N.any() else probability_NC, labelled_C)
            / labelled_C
        )
        threshold = max(precision_threshold(*shown), precision_threshold(*shown, weight_C[saved.truth_M]))
    if threshold == REJECT_ALL:
        reporter.warn(
            f"{len(saved.right_M)} labels, {saved.right_M.sum()} of them predicted rightly, cannot show a precision of "
            f"{saved.precision:g} (at least {min_labels(saved.precision)} have to be right), so every image is "
            "unsure: label more images (--suggest), or ask for a lower --precision"
        )
    return threshold


def _predictions(learnt: Learnt, probability_NC: NDArray[np.float32], threshold: float) -> Predictions:
    """Predict the most probable class; for training rows, by the cross-validated classifier that did not see them."""
    classes_C = np.array(learnt.saved.classifier.classes)
    if learnt.tried:
        probability_NC = probability_NC.copy()
        probability_NC[learnt.rows_M] = learnt.tried[0].probability_MC
    confidence_N = probability_NC.max(axis=1)
    return Predictions(classes_C[probability_NC.argmax(axis=1)], confidence_N, learnt.label_N, threshold)


def _images_of(names: list[str], rows: list[int]) -> list[str]:
    """Return the image names of rows without duplicates: tiles of one image are labelled together."""
    return list(dict.fromkeys(names[row] for row in rows))


def _write(
    options: ClassifyOptions,
    features: FeatureFile,
    learnt: Learnt,
    found: Predictions,
    wanted: list[int],
    reporter: ProgressReporter,
) -> None:
    """Write all files, and replace older ones together."""
    with FileSet(options.table) as files:
        names, boxes = features.names, features.boxes
        write_predictions(files.new(options.table), names, found, boxes)
        if options.suggest:
            lines = ((name, "") for name in _images_of(names, wanted))  # least confident first, to be filled in
            write_table(files.new(options.suggested), ["path", learnt.column], lines)
        if options.coco:
            tags = found.tags() + [ImageTag(row, "suggested") for row in wanted]
            root = features.meta.get("root", "")
            write_image_coco(files.new(Path(options.coco)), root, names, tags, boxes=boxes, reporter=reporter)
        if options.save:
            save_classifier(files.new(Path(options.save)), learnt.saved)
        files.commit()


def _outcome(
    options: ClassifyOptions, features: FeatureFile, learnt: Learnt, found: Predictions, suggested: list[str]
) -> ClassifyResult:
    labels_M, tried = learnt.label_N[learnt.rows_M], learnt.tried
    predicted_M = found.predicted_N[learnt.rows_M]
    unlabelled_N = found.unlabelled_N
    counts = [Counter(part.tolist()) for part in (learnt.label_N, found.predicted_N[unlabelled_N & found.sure_N])]
    unsure = Counter(found.predicted_N[unlabelled_N & ~found.sure_N].tolist())
    classes = []
    for name in learnt.saved.classifier.classes:
        own_M = labels_M == name
        recall = float((predicted_M[own_M] == name).mean()) if tried and own_M.any() else None
        classes.append(ClassCounts(name, counts[0][name], counts[1][name], unsure[name], recall))
    return ClassifyResult(
        out=options.table,
        features=features.path if takes_features(options) else None,
        images=len(features),
        dropped=features.dropped,
        method=str(learnt.saved.classifier.candidate),
        tried={str(result.candidate): result.log_loss for result in tried},
        accuracy=accuracy(labels_M, predicted_M) if tried else None,
        balanced_accuracy=balanced_accuracy(labels_M, predicted_M) if tried else None,
        precision=learnt.saved.precision,
        threshold=None if found.threshold == REJECT_ALL else found.threshold,
        accepted=float(found.sure_N[unlabelled_N].mean()) if unlabelled_N.any() else 1.0,
        classes=classes,
        suggested=suggested,
        files=options.outputs(),
        seconds=0.0,
        root=features.meta.get("root", ""),
    )
