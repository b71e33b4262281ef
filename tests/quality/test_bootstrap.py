from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.bootstrap import (
    Difference,
    Statistic,
    bootstrap,
    bootstrap_predictions,
    paired_bootstrap,
    resampled_counts,
)
from dinocli.quality.knn import balanced_accuracy, macro_f1

SCORES = {"balanced accuracy": balanced_accuracy, "macro F1": macro_f1}


def test_equal_values_have_no_width() -> None:
    values = np.random.default_rng(0).random(50)
    assert paired_bootstrap(values, values) == Difference(0.0, 0.0, 0.0)


def test_agrees_with_the_normal_interval() -> None:
    random = np.random.default_rng(0)
    start = random.standard_normal(2000)
    change = 0.1 + 0.5 * random.standard_normal(2000)
    found = paired_bootstrap(start, start + change)
    half = 1.96 * change.std() / np.sqrt(2000)
    assert found.mean == pytest.approx(change.mean())
    assert found.low == pytest.approx(change.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(change.mean() + half, abs=0.1 * half)


def test_pairing_cancels_the_difficulty_of_images() -> None:
    random = np.random.default_rng(0)
    start = 100 * random.standard_normal(200)
    end = start + 0.1 + 0.01 * random.standard_normal(200)
    assert paired_bootstrap(start, end).low > 0
    assert paired_bootstrap(start, random.permutation(end)).low < 0


def test_coverage_of_the_interval() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        found = paired_bootstrap(np.zeros(60), 0.3 + random.standard_normal(60), draws=200)
        hits += found.low <= 0.3 <= found.high
    assert 0.88 < hits / 200 < 0.99


def test_swapping_start_and_end_changes_the_sign() -> None:
    random = np.random.default_rng(0)
    a, b = random.random(40), random.random(40)
    there, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))


def test_seed_and_draws_change_the_interval_only() -> None:
    random = np.random.default_rng(0)
    a, b = random.random(40), random.random(40)
    base = paired_bootstrap(a, b)
    assert paired_bootstrap(a, b) == base
    for other in (paired_bootstrap(a, b, seed=1), paired_bootstrap(a, b, draws=50)):
        assert other.mean == base.mean
        assert (other.low, other.high) != (base.low, base.high)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (3, 4)])
def test_refuses_what_is_not_paired(start: int, end: int) -> None:
    with pytest.raises(ValueError, match=rf"\({start},\) and \({end},\)"):
        paired_bootstrap(np.zeros(start), np.zeros(end))


def test_every_draw_has_as_many_units_as_the_folder() -> None:
    drawn = np.stack(list(resampled_counts(7, 500, seed=0)))
    assert drawn.shape == (500, 7)
    assert set(drawn.sum(axis=1)) == {7}
    assert drawn.mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)
    assert drawn.var() == pytest.approx(1 - 1 / 7, rel=0.05)  # of a multinomial count


@pytest.mark.parametrize(("units", "draws"), [(1, 3), (8, 2000), (1000, 70), (70_000, 2)])
def test_samples_are_those_that_are_drawn_one_by_one(units: int, draws: int) -> None:
    random = np.random.default_rng(5)
    found = list(resampled_counts(units, draws, seed=5))
    assert len(found) == draws
    for counts_U in found:
        assert np.array_equal(counts_U, np.bincount(random.integers(0, units, units), minlength=units))


def test_a_statistic_of_weights_and_a_paired_mean_get_the_same_interval() -> None:
    change_N = np.random.default_rng(0).random(40)
    found = bootstrap(lambda w_N: float(w_N @ change_N / w_N.sum()), 40, draws=2000)
    paired = paired_bootstrap(np.zeros(40), change_N)
    assert (paired.mean, paired.low, paired.high) == pytest.approx(found)


def test_resamples_without_a_value_are_excluded() -> None:
    seen = bootstrap(lambda w_N: float("nan") if w_N[0] == 0 else 1.0, 5)
    assert seen == (1, 1, 1)
    assert np.isnan(bootstrap(lambda w_N: float("nan"), 5)).all()
    assert np.isnan(bootstrap(lambda w_N: 1.0, 0)).all()


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
