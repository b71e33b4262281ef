import numpy as np
import pytest

from dinocli.quality.compare import Difference, paired_bootstrap


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


def test_pairs_cancel_how_hard_an_image_is() -> None:
    random = np.random.default_rng(0)
    start = 100 * random.standard_normal(200)
    end = start + 0.1 + 0.01 * random.standard_normal(200)
    assert paired_bootstrap(start, end).low > 0
    assert paired_bootstrap(start, random.permutation(end)).low < 0


def test_covers_the_truth_about_as_often_as_promised() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        found = paired_bootstrap(np.zeros(60), 0.3 + random.standard_normal(60), draws=200)
        hits += found.low <= 0.3 <= found.high
    assert 0.88 < hits / 200 < 0.99


def test_swapping_the_ends_turns_the_sign() -> None:
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
