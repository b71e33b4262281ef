import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.agreement import ari, hungarian_accuracy, nmi

TRUTH = np.array(["a", "a", "a", "b", "b", "b"])


def pair_counting(truth: NDArray[np.str_], clusters: NDArray[np.int_]) -> float:
    """Compute the adjusted Rand index by a loop over all pairs."""
    pairs = [(i, j) for i in range(len(truth)) for j in range(i)]
    both = sum(truth[i] == truth[j] and clusters[i] == clusters[j] for i, j in pairs)
    ours, theirs = sum(truth[i] == truth[j] for i, j in pairs), sum(clusters[i] == clusters[j] for i, j in pairs)
    chance = ours * theirs / len(pairs)
    return float((both - chance) / ((ours + theirs) / 2 - chance))


@pytest.mark.parametrize("score", [nmi, ari, hungarian_accuracy])
def test_names_of_clusters_do_not_matter(score: object) -> None:
    assert callable(score)
    assert score(TRUTH, np.array([7, 7, 7, -1, -1, -1])) == pytest.approx(1)
    one_wrong = np.array([0, 0, 1, 1, 1, 1])
    assert score(TRUTH, one_wrong) == pytest.approx(score(TRUTH, 5 - one_wrong))
    assert score(TRUTH, one_wrong) < 1


def test_nmi_hand_value() -> None:
    # clusters cut across the classes in one place: H(truth) = ln 2, and the joint has cells of 2, 1 and 3 images
    joint = -(2 / 6 * np.log(2 / 6) + 1 / 6 * np.log(1 / 6) + 1 / 2 * np.log(1 / 2))
    clusters = -(2 / 6 * np.log(2 / 6) + 4 / 6 * np.log(4 / 6))
    expected = 2 * (np.log(2) + clusters - joint) / (np.log(2) + clusters)
    assert nmi(TRUTH, np.array([0, 0, 1, 1, 1, 1])) == pytest.approx(expected)
    assert nmi(TRUTH, np.zeros(6)) == 0


def test_ari_equals_the_loop_over_pairs() -> None:
    random = np.random.default_rng(0)
    truth = random.choice(np.array(["x", "y", "z"]), 40)
    clusters = np.where(random.random(40) < 0.5, (truth == "x").astype(int), random.integers(0, 4, 40))
    assert ari(truth, clusters) == pytest.approx(pair_counting(truth, clusters))
    assert 0.05 < ari(truth, clusters) < 0.95


def test_random_clusters_give_zero_ari_but_positive_nmi() -> None:
    random = np.random.default_rng(0)
    truth, many = random.integers(0, 5, 300), random.integers(0, 100, 300)
    assert abs(ari(truth, many)) < 0.02
    assert nmi(truth, many) > 0.2


def test_hungarian_assigns_each_name_once() -> None:
    assert hungarian_accuracy(TRUTH, np.array([0, 0, 1, 1, 1, 1])) == pytest.approx(5 / 6)
    # class a is the most frequent in both clusters, but only one of them can be assigned to it
    truth = np.array(["a"] * 5 + ["b"])
    assert hungarian_accuracy(truth, np.array([0, 0, 0, 1, 1, 1])) == pytest.approx(4 / 6)
    # all images of a surplus cluster are errors
    assert hungarian_accuracy(TRUTH, np.array([0, 0, 2, 1, 1, 2])) == pytest.approx(4 / 6)
    assert hungarian_accuracy(TRUTH, np.zeros(6, int)) == pytest.approx(3 / 6)
