from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.compare import paired_bootstrap
from dinocli.quality.confusion import Statistic, bootstrap_predictions
from dinocli.quality.knn import balanced_accuracy, macro_f1

SCORES = {"balanced accuracy": balanced_accuracy, "macro F1": macro_f1}


def predictions(seed: int = 0, count: int = 150) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    random = np.random.default_rng(seed)
    names = np.array(["crack", "good", "spot"])
    labels = random.choice(names, count, p=[0.1, 0.7, 0.2])
    start, end = (np.where(random.random(count) < right, labels, random.choice(names, count)) for right in (0.5, 0.7))
    return labels, start, end


@pytest.mark.parametrize("statistic", SCORES)
def test_equals_the_slow_bootstrap(statistic: Statistic) -> None:
    labels, start, end = predictions()
    found = bootstrap_predictions(labels, start, end, statistic)
    score = SCORES[statistic]
    assert found.mean == pytest.approx(score(labels, end) - score(labels, start))
    random = np.random.default_rng(1)
    slow = []
    for _ in range(100):
        rows = random.integers(0, len(labels), len(labels))
        slow.append(score(labels[rows], end[rows]) - score(labels[rows], start[rows]))
    half = 1.96 * float(np.std(slow))
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.3 * half)


@pytest.mark.parametrize("statistic", SCORES)
def test_the_same_predictions_have_no_width(statistic: Statistic) -> None:
    labels, start, _ = predictions()
    found = bootstrap_predictions(labels, start, start, statistic)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def copies(values: NDArray[Any]) -> NDArray[Any]:
    return values.repeat(9)


def test_copies_in_one_group_add_no_certainty() -> None:
    labels, start, end = predictions(count=60)
    one = bootstrap_predictions(labels, start, end, "macro F1")
    blind = bootstrap_predictions(copies(labels), copies(start), copies(end), "macro F1")
    aware = bootstrap_predictions(
        copies(labels), copies(start), copies(end), "macro F1", groups_N=copies(np.arange(60))
    )
    assert blind.high - blind.low < 0.5 * (one.high - one.low)
    assert (aware.low, aware.high) == pytest.approx((one.low, one.high), abs=0.03)


def test_copies_in_one_group_add_no_certainty_to_a_mean() -> None:
    labels, start, end = predictions(count=60)
    right = [(values == labels).astype(float) for values in (start, end)]
    one = paired_bootstrap(*right)
    aware = paired_bootstrap(*map(copies, right), groups_N=copies(np.arange(60)))
    blind = paired_bootstrap(*map(copies, right))
    assert (aware.mean, aware.low, aware.high) == pytest.approx((one.mean, one.low, one.high))
    assert blind.high - blind.low < 0.5 * (one.high - one.low)
