from typing import Any

import numpy as np
import pytest

from dinocli.quality import linear
from dinocli.quality.folds import folds
from dinocli.quality.knn import accuracy, balanced_accuracy
from dinocli.quality.linear import linear_probe, linear_transfer
from tests.quality.test_knn import blobs

LABELS = np.array(["a"] * 30 + ["b"] * 9 + ["c"])


def test_every_image_is_tested_once_and_classes_are_spread() -> None:
    parts = list(folds(LABELS, None, 3))
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(40))
    for learn, test in parts:
        assert sorted(np.concatenate([learn, test])) == list(range(40))
        assert (LABELS[test] == "b").sum() == 3


def test_no_group_is_on_both_sides() -> None:
    groups = np.arange(40) // 4
    parts = list(folds(LABELS, groups, 5))
    assert len(parts) == 5
    for learn, test in parts:
        assert not set(groups[learn]) & set(groups[test])
    assert len(list(folds(LABELS, np.arange(40) // 20, 5))) == 2


def test_finds_a_line_that_neighbours_miss() -> None:
    # one informative dimension, thirty of noise
    random = np.random.default_rng(0)
    labels = np.array(["bad", "good"]).repeat(150)
    features = random.standard_normal((300, 31)) + 0.5
    features[:, 0] = np.where(labels == "bad", -2, 2) + random.standard_normal(300)
    assert accuracy(labels, linear_probe(features, labels)) > 0.9


def test_random_labels_are_not_predicted() -> None:
    random = np.random.default_rng(0)
    features, labels = random.standard_normal((200, 100)), random.integers(0, 2, 200)
    assert accuracy(labels, linear_probe(features, labels)) == pytest.approx(0.5, abs=0.1)


def test_images_of_the_same_part_are_not_neighbours() -> None:
    random = np.random.default_rng(1)
    parts, labels = np.arange(60).repeat(3), random.integers(0, 2, 60).repeat(3)
    features = random.standard_normal((60, 40)).repeat(3, axis=0) + 0.01 * random.standard_normal((180, 40))
    assert accuracy(labels, linear_probe(features, labels)) > 0.9
    assert accuracy(labels, linear_probe(features, labels, groups_N=parts)) < 0.7


def test_scale_does_not_matter_and_a_rare_class_counts() -> None:
    features, labels = blobs(per_class=40, spread=1)
    keep = np.concatenate([np.arange(80), [80, 81, 82, 83, 84, 85]])
    features, labels = features[keep], labels[keep]
    predicted = linear_probe(features, labels)
    assert (linear_probe(1000 * features, labels) == predicted).mean() > 0.98
    assert balanced_accuracy(labels, predicted) > 0.7


def test_the_penalty_is_chosen_by_what_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 80)
    noise, clear = random.standard_normal((80, 200)), labels[:, None] + 0.05 * random.standard_normal((80, 5))
    seen: list[float] = []
    choose = linear._strength

    def watched(*given: Any) -> float:
        seen.append(choose(*given))
        return seen[-1]

    monkeypatch.setattr(linear, "_strength", watched)
    for features in (noise, clear - 0.5):
        linear_transfer(features, labels, features)
    assert seen[0] < 0.1 < seen[1]


def test_one_class_alone_is_predicted() -> None:
    features, labels = blobs()
    assert (linear_transfer(features[:20], labels[:20], features[20:]) == labels[0]).all()


@pytest.mark.parametrize("groups", [None, np.tile(["left", "right"], 30)])
def test_classes_of_two_images_leave_one_to_learn_from(groups: Any) -> None:
    """The penalty cannot be selected then: no class has an image to hold out."""
    labels = np.repeat([f"class {number}" for number in range(30)], 2)
    features = np.repeat(np.eye(30, dtype=np.float32), 2, axis=0)
    assert accuracy(labels, linear_probe(features, labels, groups_N=groups)) == 1
