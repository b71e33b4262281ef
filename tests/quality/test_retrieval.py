from typing import Any

import numpy as np
import pytest

from dinocli.quality import cosine
from dinocli.quality.few_shot_accuracy import few_shot
from dinocli.quality.retrieval import rank_classes
from tests.quality.test_knn import blobs


def slow_ranking(features: Any, labels: Any, groups: Any, gallery: Any, first: int) -> tuple[list[float], list[float]]:
    precisions: list[float] = []
    shares: list[float] = []
    for i, query in enumerate(features):
        if gallery is not None and gallery[i]:
            continue
        rows = [j for j in range(len(labels)) if groups[j] != groups[i] and (gallery is None or gallery[j])]
        rows.sort(key=lambda j: -float(query @ features[j] / np.linalg.norm(query) / np.linalg.norm(features[j])))
        hits = [labels[j] == labels[i] for j in rows]
        ranks = [rank for rank, hit in enumerate(hits, 1) if hit]
        precisions.append(float(np.mean([(n + 1) / rank for n, rank in enumerate(ranks)])) if ranks else np.nan)
        shares.append(float(np.mean(hits[:first])) if ranks else np.nan)
    return precisions, shares


@pytest.mark.parametrize("values", [1, 7 * 60, 1 << 24])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("size", [1, 4])
def test_equals_the_slow_loop(values: int, split: bool, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs()
    labels = np.where(np.arange(60) == 30, "alone", labels)
    groups = np.arange(60) // size
    gallery = np.arange(60) % 3 > 0 if split else None
    monkeypatch.setattr(cosine, "_BLOCK_VALUES", values)
    found = rank_classes(features, labels, first=5, groups_N=groups, learn_N=gallery)
    slow = slow_ranking(features, labels, groups, gallery, 5)
    np.testing.assert_allclose(found.average_precision_Q, slow[0], rtol=1e-6)
    np.testing.assert_allclose(found.precision_Q, slow[1])
    assert np.isnan(found.average_precision_Q).sum() == 1
    assert 0.4 < np.nanmean(found.average_precision_Q) < 0.95


def test_retrieval_hand_value() -> None:
    features = np.array([[1, 0], [1, 0.1], [1, 0.2], [1, 0.3]])
    found = rank_classes(features, np.array(["a", "b", "a", "a"]), first=1)
    assert found.average_precision_Q[0] == pytest.approx((1 / 2 + 2 / 3) / 2)  # b, a, a
    assert found.precision_Q[0] == 0


def test_few_shot_equals_the_slow_loop() -> None:
    features, labels = blobs(spread=2)
    found = few_shot(features, labels, 3, draws=4, seed=5)
    random = np.random.default_rng(5)
    names = sorted(set(labels))
    right: list[list[bool]] = [[] for _ in labels]
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    for _ in range(4):
        chosen = {name: random.permutation(np.flatnonzero(labels == name))[:3].tolist() for name in names}
        means = {name: units[rows].mean(axis=0) for name, rows in chosen.items()}
        for i, unit in enumerate(units):
            if not any(i in rows for rows in chosen.values()):
                best = max(names, key=lambda name: float(unit @ means[name]) / float(np.linalg.norm(means[name])))
                right[i].append(bool(best == labels[i]))
    np.testing.assert_allclose(found, np.array([sum(r) / len(r) if r else np.nan for r in right]))
    assert 0.4 < np.nanmean(found) < 0.95


def test_few_shot_tests_nothing_of_a_group_that_was_drawn() -> None:
    features, labels = blobs(spread=3)
    parts = np.arange(60) // 2
    found = few_shot(features, labels, 3, draws=1, groups_N=parts)
    drawn = few_shot(features, labels, 3, draws=1)
    assert np.isnan(drawn).sum() == 9
    assert set(parts[np.isnan(found)]) == set(parts[np.isnan(drawn)])
    assert np.isnan(found).sum() > 9  # also the second images of the drawn parts


def test_few_shot_between_two_sides() -> None:
    features, labels = blobs(spread=0.5)
    teach = np.arange(60) % 2 == 0
    found = few_shot(features, labels, 5, learn_N=teach)
    assert found.shape == (30,)
    assert np.isfinite(found).all()
    assert found.mean() > 0.9


def test_few_shot_with_a_class_of_one_image() -> None:
    features, labels = blobs(spread=0.1)
    labels[0] = "alone"
    found = few_shot(features, labels, 5)
    assert np.isnan(found[0])
    assert np.isfinite(found[1:]).all()
