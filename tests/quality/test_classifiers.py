"""Classifiers trained on few labels, compared with scikit-learn, and the guarantees of their outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import normalize

from dinocli.errors import WeightsError
from dinocli.quality.active_learning import margins, suggest
from dinocli.quality.classifier_choice import can_be_validated, fit_temperature, out_of_fold, try_classifiers
from dinocli.quality.classifier_file import SavedClassifier, load_classifier, save_classifier
from dinocli.quality.classifiers import Candidate, centred, fit_classifier, mean_of
from dinocli.quality.folds import folds
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.selective_classification import REJECT_ALL, class_shares, min_labels, precision_threshold

Rows = NDArray[np.float32]


def clouds(each: int = 12, noise: float = 1.0, classes: int = 3, seed: int = 0) -> tuple[Rows, NDArray[np.str_]]:
    random = np.random.default_rng(seed)
    class_N = np.repeat(np.arange(classes), each)
    rows = 3 + np.eye(classes, 16)[class_N] * 2 + noise * random.standard_normal((len(class_N), 16))
    return rows.astype(np.float32), np.array([f"class {number}" for number in class_N])


def prepared(features_ND: Rows) -> Rows:
    """The classifiers in terms of scikit-learn."""
    units_ND = normalize(features_ND)
    return np.asarray(normalize(units_ND - units_ND.mean(axis=0)), np.float32)


def test_rows_are_centred_by_all_images_and_scaled_again() -> None:
    features_ND, _ = clouds()
    rows = NormalizedFeatures(features_ND)
    np.testing.assert_allclose(centred(rows, mean_of(rows)), prepared(features_ND), atol=1e-5)


def sklearn_votes(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp((1 - distance**2 / 2) / 0.07))


ESTIMATORS: dict[Candidate, Any] = {
    Candidate("linear", 10.0): LogisticRegression(C=10.0, max_iter=300),
    Candidate("knn", 5.0): KNeighborsClassifier(5, weights=sklearn_votes),
    Candidate("mean"): NearestCentroid(),
}


@pytest.mark.parametrize("candidate", ESTIMATORS, ids=str)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("grouped", [False, True], ids=["plain", "grouped"])
def test_scores_equal_scikit_learn_on_the_same_folds(candidate: Candidate, classes: int, grouped: bool) -> None:
    features_ND, labels_N = clouds(noise=1.5, classes=classes)
    rows_ND, class_N = prepared(features_ND), np.unique(labels_N, return_inverse=True)[1]
    groups_N = np.arange(len(labels_N)) // 2 if grouped else None
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    parts = [*kind(5, shuffle=True, random_state=3).split(rows_ND, labels_N, groups_N)]
    wanted = cross_val_predict(ESTIMATORS[candidate], rows_ND, labels_N, cv=parts)
    ours = [*folds(labels_N, groups_N, 5, seed=3)]
    found = np.unique(labels_N)[out_of_fold(candidate, rows_ND, class_N, ours).argmax(axis=1)]
    assert (found == wanted).all()
    assert 0.4 < (found == labels_N).mean() < 1, "a test that every classifier passes shows nothing"


@pytest.mark.parametrize("candidate", [Candidate("linear", 10.0), Candidate("knn", 1.0), Candidate("mean")], ids=str)
def test_one_label_of_many_classes_is_no_regression(candidate: Candidate) -> None:
    """scikit-learn warns of it, which is an error in the tests."""
    rows_MD = np.eye(24, dtype=np.float32)
    assert (candidate.fitted(rows_MD, np.arange(24)).predict(rows_MD) == np.arange(24)).all()


def test_few_rows_in_their_own_span_give_the_same_probabilities() -> None:
    random = np.random.default_rng(0)
    features_ND = np.concatenate([clouds(4)[0], random.standard_normal((12, 200)).astype(np.float32)], axis=1)
    labels_N = clouds(4)[1]
    rows_ND = prepared(features_ND)
    (best,) = [one for one in try_classifiers(rows_ND, labels_N, seed=1) if one.candidate == Candidate("linear", 10.0)]
    class_N = np.unique(labels_N, return_inverse=True)[1]
    whole = [out_of_fold(best.candidate, rows_ND, class_N, [*folds(labels_N, None, 5, seed=1 + r)]) for r in range(5)]
    scores = np.stack(whole) / best.temperature
    wanted = (np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(best.probability_MC, wanted, atol=1e-3)


def test_the_temperature_comes_to_that_of_scikit_learn_where_there_are_many_labels() -> None:
    features_ND, labels_N = clouds(300, noise=1.5)
    rows_ND, class_N = prepared(features_ND), np.unique(labels_N, return_inverse=True)[1]
    parts = [*StratifiedKFold(5, shuffle=True, random_state=0).split(rows_ND, class_N)]
    usual = CalibratedClassifierCV(LogisticRegression(C=1.0), method="temperature", cv=parts, ensemble=False)
    usual.fit(rows_ND, class_N)
    beta = usual.calibrated_classifiers_[0].calibrators[0].beta_
    ours = fit_temperature(out_of_fold(Candidate("linear", 1.0), rows_ND, class_N, parts)[None], class_N)
    assert 1 / ours == pytest.approx(beta, rel=0.05)


def test_few_correct_answers_give_no_certainty() -> None:
    features_ND, labels_N = clouds(5, noise=0.01)
    best = try_classifiers(prepared(features_ND), labels_N)[0]
    assert best.right(labels_N).all()
    assert 0.7 < best.confidence_M.mean() < 0.9, "five of five: (5 + 1) / (5 + 2)"


def test_groups_are_never_on_both_sides() -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((40, 16))
    rows = (centres.repeat(6, 0) + 0.01 * random.standard_normal((240, 16))).astype(np.float32)
    labels, groups = np.array(["a", "b"] * 20).repeat(6), np.arange(40).astype(str).repeat(6)
    alone, apart = (try_classifiers(prepared(rows), labels, g, method="knn")[0] for g in (None, groups))
    assert alone.right(labels).mean() == 1, "copies of one part find each other"
    assert apart.right(labels).mean() < 0.8


def test_validation_needs_two_units_of_a_class() -> None:
    assert can_be_validated(np.array(["a", "a", "b"]), None)
    assert not can_be_validated(np.array(["a", "b", "c"]), None)
    assert not can_be_validated(np.array(["a", "a", "b"]), np.array(["1", "1", "2"]))


@pytest.mark.parametrize("method", ["linear", "knn", "mean"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_saved_classifier_is_bit_identical(tmp_path: Path, method: str, classes: int) -> None:
    features_ND, labels_N = clouds(classes=classes)
    rows = NormalizedFeatures(features_ND)
    best = try_classifiers(centred(rows, mean_of(rows)), labels_N, method=method)[0]
    classifier = fit_classifier(
        best.candidate, centred(rows, mean_of(rows)), labels_N, mean_D=mean_of(rows), temperature=best.temperature
    )
    truth = np.unique(labels_N, return_inverse=True)[1]
    meta = {"tokens": "pooled", "weights": {"sha256": "1"}}
    saved = SavedClassifier(classifier, best.confidence_M, best.right(labels_N), truth, 0.9, meta, b"state")
    save_classifier(tmp_path / "c.safetensors", saved)
    again = load_classifier(tmp_path / "c.safetensors")
    probability_NC = classifier.probabilities(features_ND)
    assert (again.classifier.probabilities(features_ND) == probability_NC).all()
    assert (again.precision, again.features, again.fitted_state) == (0.9, meta, b"state")
    assert (again.truth_M == truth).all()
    np.testing.assert_allclose(probability_NC.sum(axis=1), 1, atol=1e-5)
    assert (np.unique(labels_N)[probability_NC.argmax(axis=1)] == labels_N).mean() > 0.9
    raw = (tmp_path / "c.safetensors").read_bytes()
    for damage in (raw[:50], raw.replace(b'\\"method\\":\\"', b'\\"mothed\\":\\"'), b""):
        (tmp_path / "d.safetensors").write_bytes(damage)
        with pytest.raises(WeightsError, match="safetensors as a classifier"):
            load_classifier(tmp_path / "d.safetensors")


def test_the_threshold_by_hand() -> None:
    ranked = np.linspace(1, 0.5, 200)
    right = np.ones(200, bool)
    assert min_labels(0.95) == 59
    assert precision_threshold(ranked[:58], right[:58], 0.95) == REJECT_ALL
    assert precision_threshold(ranked[:59], right[:59], 0.95) == ranked[58]
    right[100:] = False
    found = precision_threshold(ranked, right, 0.95)
    assert ranked[101] <= found <= ranked[100], "one error of 101 is explained, two are not by much"
    assert precision_threshold(np.ones(60), np.arange(60) > 20, 0.95) == REJECT_ALL, "equal confidences stand together"


@pytest.mark.parametrize("precision", [0.8, 0.95])
def test_the_guaranteed_accuracy_holds_on_other_images(precision: float) -> None:
    random = np.random.default_rng(0)
    kept, accepted = 0, 0
    for _ in range(200):
        confidence = random.uniform(0.5, 1, 3000)
        right = random.random(3000) < confidence  # calibrated
        threshold = precision_threshold(confidence[:1000], right[:1000], precision)
        sure = confidence[1000:] >= threshold
        accepted += bool(sure.any())
        kept += not sure.any() or bool(right[1000:][sure].mean() >= precision - 0.02)
    assert kept >= 180
    assert accepted > 20, "a threshold that never accepts keeps any promise"


def test_weights_make_labels_stand_for_a_folder_of_other_shares() -> None:
    random = np.random.default_rng(0)
    class_N = random.permutation(np.repeat([0, 1], [1800, 200]))
    x = random.standard_normal(2000) + 2 * class_N
    balanced = 1 / (1 + np.exp(-(2 * x - 2)))  # as learnt from as many of both
    shares = class_shares(np.stack([1 - balanced, balanced], axis=1), np.array([0.5, 0.5]))
    assert shares == pytest.approx([0.9, 0.1], abs=0.03)
    confidence, right = np.linspace(1, 0.5, 100), np.arange(100) % 10 > 0
    plain = precision_threshold(confidence, right, 0.8)
    assert precision_threshold(confidence, right, 0.8, np.full(100, 7.0)) == plain
    assert precision_threshold(confidence, right, 0.8, np.where(right, 1.0, 5.0)) > plain


def test_suggestions_are_unsure_open_and_unlike_each_other() -> None:
    random = np.random.default_rng(0)
    kinds = np.repeat(np.arange(4), 50)
    rows = (np.eye(4, 16)[kinds] * 4 + 0.3 * random.standard_normal((200, 16))).astype(np.float32)
    lead = np.where(kinds == 3, 0.9, 0.1) + 0.05 * random.random(200)
    probability = np.stack([0.5 + lead / 2, 0.5 - lead / 2], axis=1)
    open_N = np.arange(200) % 50 >= 10
    found = suggest(NormalizedFeatures(rows), probability, open_N, 3)
    assert sorted(kinds[found].tolist()) == [0, 1, 2], "of each unsure kind one, of the sure one none"
    assert open_N[found].all()
    copies = NormalizedFeatures(np.repeat(rows[:4], 50, axis=0))
    assert len(set(suggest(copies, probability, open_N, 7))) == 7, "fewer kinds than wanted"
    assert suggest(NormalizedFeatures(rows), probability, open_N, 500) == sorted(
        np.flatnonzero(open_N).tolist(), key=lambda row: margins(probability)[row]
    )
    assert len(set(suggest(NormalizedFeatures(rows), probability, open_N, 150))) == 150


@pytest.mark.parametrize("names", [("bad", "good"), ("good", "bad")])
def test_accuracy_does_not_depend_on_the_names_of_classes(names: tuple[str, str]) -> None:
    rows_MD = prepared(np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32))
    labels_M = np.array([names[0]] + 6 * [names[1]])
    class_M = np.unique(labels_M, return_inverse=True)[1]
    parts = [(np.arange(1, 7), np.array([0])), (np.array([0, 2, 4, 6]), np.array([1, 3, 5]))]
    found_M = out_of_fold(Candidate("mean"), rows_MD, class_M, parts).argmax(axis=1)
    assert np.unique(labels_M)[found_M[0]] == names[1], "the only image of its class has no training image"
