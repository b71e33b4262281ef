import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.errors import DataError
from dinocli.quality import cosine, knn
from dinocli.quality.knn import accuracy, balanced_accuracy, knn_votes, macro_f1


def blobs(per_class: int = 20, spread: float = 1.2, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    random = np.random.default_rng(seed)
    labels = np.repeat(np.array(["crack", "good", "scratch"]), per_class)
    centres = random.standard_normal((3, 6)).repeat(per_class, axis=0)
    return (centres + spread * random.standard_normal((3 * per_class, 6))).astype(np.float32), labels


def slow_knn(
    features: NDArray[np.float32], labels: NDArray[np.str_], k: int, temperature: float, groups: list[int]
) -> list[str]:
    predicted = []
    for i, query in enumerate(features):
        others = [
            (float(query @ row / np.linalg.norm(query) / np.linalg.norm(row)), label)
            for row, label, group in zip(features, labels, groups, strict=True)
            if group != groups[i]
        ]
        votes: dict[str, float] = {}
        for similarity, label in sorted(others, reverse=True)[:k]:
            votes[label] = votes.get(label, 0.0) + float(np.exp(similarity / temperature))
        predicted.append(max(votes, key=lambda label: votes[label]))
    return predicted


@pytest.mark.parametrize("k", [1, 5, 20, 500])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_equals_the_slow_loop(k: int, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs()
    slow = slow_knn(features, labels, k, temperature, list(range(len(labels))))
    assert 0.4 < np.mean(slow == labels) < 1  # neither perfect nor at chance
    monkeypatch.setattr(knn, "TEMPERATURE", temperature)
    for values in (7 * len(labels), 1 << 24):
        monkeypatch.setattr(cosine, "_BLOCK_VALUES", values)
        assert knn_votes(features, labels, k=k).predicted_Q.tolist() == slow


def test_groups_equal_the_slow_loop() -> None:
    features, labels = blobs(spread=2.0)
    groups = [i // 4 for i in range(len(labels))]
    slow = slow_knn(features, labels, 5, 0.07, groups)
    assert knn_votes(features, labels, k=5, groups_N=np.array(groups)).predicted_Q.tolist() == slow
    assert knn_votes(features, labels, k=5).predicted_Q.tolist() != slow


def test_votes_include_neighbours_and_shares() -> None:
    features, labels = blobs(spread=2.0)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    groups = np.arange(len(labels)) // 4
    votes = knn_votes(features, labels, k=5, groups_N=groups)
    for query in (0, 17, 59):
        cosine = np.where(groups == groups[query], -2.0, units @ units[query])
        nearest = np.argsort(-cosine)[:5]
        assert votes.nearest_Qk[query].tolist() == nearest.tolist()
        weights = np.exp(cosine[nearest] / 0.07)
        share = {label: weights[labels[nearest] == label].sum() / weights.sum() for label in set(labels)}
        assert votes.confidence_Q[query] == pytest.approx(max(share.values()), rel=1e-5)
        assert votes.own_Q[query] == pytest.approx(share[labels[query]], rel=1e-5)


def test_votes_of_one_side_are_rows_of_the_features() -> None:
    features, labels = blobs()
    learn = np.arange(len(labels)) % 2 == 0
    votes = knn_votes(features, labels, k=500, learn_N=learn)
    assert votes.nearest_Qk.shape == ((~learn).sum(), learn.sum())
    assert learn[votes.nearest_Qk].all()
    lonely = knn_votes(features[:4], labels[:4], k=3, groups_N=np.array([0, 0, 0, 1]))
    assert lonely.nearest_Qk[0].tolist() == [3, -1, -1]


def test_no_copy_of_the_same_part_votes() -> None:
    # three frames of each part and random labels: predictable only by the copies
    random = np.random.default_rng(1)
    parts = np.arange(60).repeat(3)
    labels = random.integers(0, 2, 60).repeat(3)
    features = random.standard_normal((60, 16)).repeat(3, axis=0) + 0.01 * random.standard_normal((180, 16))
    assert accuracy(labels, knn_votes(features, labels, k=2).predicted_Q) == 1
    assert accuracy(labels, knn_votes(features, labels, k=2, groups_N=parts).predicted_Q) < 0.7


def test_k_temperature_and_groups_each_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(spread=2.0)
    base = knn_votes(features, labels).predicted_Q
    assert (knn_votes(features, labels, k=1).predicted_Q != base).any()
    assert (knn_votes(features, labels, groups_N=np.arange(len(labels)) // 6).predicted_Q != base).any()
    monkeypatch.setattr(knn, "TEMPERATURE", 10.0)
    assert (knn_votes(features, labels).predicted_Q != base).any()


def test_a_very_low_temperature_counts_the_nearest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs()
    nearest = knn_votes(features, labels, k=1).predicted_Q
    monkeypatch.setattr(knn, "TEMPERATURE", 1e-5)
    assert knn_votes(features, labels, k=20).predicted_Q.tolist() == nearest.tolist()


def test_two_images_vote_for_each_other() -> None:
    assert knn_votes(np.eye(2), np.array([3, 5])).predicted_Q.tolist() == [5, 3]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_no_gallery_image(count: int) -> None:
    with pytest.raises(DataError, match=f"all {count} labelled images"):
        knn_votes(np.ones((count, 2)), np.zeros(count), groups_N=np.zeros(count))


def test_macro_f1_minds_the_rare_class() -> None:
    truth = np.array(["good"] * 9 + ["bad"])
    always_good = np.array(["good"] * 10)
    assert accuracy(truth, always_good) == pytest.approx(0.9)
    assert macro_f1(truth, always_good) == pytest.approx((18 / 19 + 0) / 2)
    assert macro_f1(truth, truth) == 1


def test_only_training_images_vote() -> None:
    features, labels = blobs(spread=1.5)
    teach = np.arange(60) % 3 > 0
    predicted = knn_votes(features, labels, k=500, learn_N=teach).predicted_Q
    assert predicted.shape == (20,)
    for row, guess in zip(np.flatnonzero(~teach), predicted, strict=True):
        alone = np.append(np.flatnonzero(teach), row)  # leave-one-out among the training images and this image
        assert knn_votes(features[alone], labels[alone], k=500).predicted_Q[-1] == guess
    for nobody in (np.zeros(60, bool), np.ones(60, bool)):
        with pytest.raises(DataError, match="of 60 images are to learn from"):
            knn_votes(features, labels, learn_N=nobody)


def test_balanced_accuracy_hand_value() -> None:
    labels = np.array(["a", "a", "a", "b"])
    assert balanced_accuracy(labels, np.array(["a", "a", "x", "a"])) == pytest.approx((2 / 3 + 0) / 2)
