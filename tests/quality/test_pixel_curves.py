import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from dinocli.quality import pixel_curves
from dinocli.quality.pixel_curves import PixelCurves, ordered_bins

Pair = tuple[NDArray[np.bool_], NDArray[np.float64]]


def blobs(number: int, seed: int = 0) -> list[Pair]:
    """Return masks of a few round regions, and noisy scores that are higher inside them."""
    random = np.random.default_rng(seed)
    pairs = []
    for _ in range(number):
        smooth = ndimage.gaussian_filter(random.standard_normal((40, 50)), 4)
        truth = smooth > np.quantile(smooth, 0.9)
        pairs.append((truth, 0.7 * truth + random.standard_normal(truth.shape)))
    return pairs


def count(pairs: list[Pair]) -> PixelCurves:
    curves = PixelCurves()
    for truth, score in pairs:
        curves.add(truth, score)
    return curves


def slow_aupro(pairs: list[Pair], limit: float) -> float:
    """Compute the metric by a loop over all thresholds and regions."""
    regions = []
    for truth, score in pairs:
        label, number = ndimage.label(truth, np.ones((3, 3)))
        regions += [score[label == region] for region in range(1, number + 1)]
    outside = np.concatenate([score[~truth] for truth, score in pairs])
    area, before = 0.0, (0.0, 0.0)
    for threshold in np.unique(np.concatenate([score.reshape(-1) for _, score in pairs]))[::-1]:
        rate = float((outside >= threshold).mean())
        found = float(np.mean([(region >= threshold).mean() for region in regions]))
        if rate >= limit:
            at_limit = before[1] + (found - before[1]) * (limit - before[0]) / (rate - before[0])
            return (area + (limit - before[0]) * (before[1] + at_limit) / 2) / limit
        area += (rate - before[0]) * (before[1] + found) / 2
        before = (rate, found)
    raise AssertionError("the rate of false positives never came to its limit")


def test_auroc_agrees_with_sklearn() -> None:
    pairs = blobs(6)
    truth, score = (np.concatenate([pair[part].reshape(-1) for pair in pairs]) for part in (0, 1))
    exact = roc_auc_score(truth, score)
    assert 0.6 < exact < 0.8
    assert count(pairs).scores().auroc.value == pytest.approx(exact, abs=1e-4)


def test_equal_scores_count_half() -> None:
    truth = np.array([[0, 0, 1, 1]], bool)
    for scores in ([1, 2, 2, 3], [5, 5, 5, 5], [3, 1, -1, -1], [-0.0, 0.0, 0.0, 1.0]):
        exact = roc_auc_score(truth[0], scores)
        assert count([(truth, np.array([scores], float))]).scores().auroc.value == pytest.approx(exact)


def test_aupro_agrees_with_the_slow_loop() -> None:
    pairs = [(truth[:24, :30], score[:24, :30].round(1)) for truth, score in blobs(3)]
    assert count(pairs).scores().aupro.value == pytest.approx(slow_aupro(pairs, 0.3), abs=1e-3)


def test_small_regions_count_as_much_as_large_ones_in_aupro() -> None:
    truth = np.zeros((40, 40), bool)
    truth[:20] = True
    truth[30, 30] = True
    only_large, only_small = np.zeros((40, 40)), np.zeros((40, 40))
    only_large[:20] = 1
    only_small[30, 30] = 1
    large, small = (count([(truth, score)]).scores() for score in (only_large, only_small))
    assert large.aupro.value == pytest.approx(small.aupro.value)
    assert large.auroc.value > small.auroc.value + 0.4


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_neither_needs_a_range(scale: float) -> None:
    pairs = blobs(3)
    scaled = [(truth, score * scale) for truth, score in pairs]
    for one, other in zip(count(pairs).scores(), count(scaled).scores(), strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-3)


def test_bins_keep_the_order() -> None:
    random = np.random.default_rng(0)
    values = np.sort(np.concatenate([random.standard_normal(500) * 10.0**power for power in range(-20, 20, 4)]))
    assert (np.diff(ordered_bins(values)) >= 0).all()
    assert len(np.unique(ordered_bins(np.array([-0.0, 0.0])))) == 1
    assert len(np.unique(ordered_bins(np.linspace(1, 2, 10_000)))) > 500


def test_memory_does_not_grow_with_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = blobs(20)
    alone = count(pairs).scores()
    monkeypatch.setattr(pixel_curves, "GROUPS", 10)
    grouped = count(pairs)
    assert len(grouped._groups) == 10
    together = grouped.scores()
    assert together.auroc.value == pytest.approx(alone.auroc.value)
    assert together.aupro.value == pytest.approx(alone.aupro.value)
    ratio = (together.auroc.high - together.auroc.low) / (alone.auroc.high - alone.auroc.low)
    assert 0.4 < ratio < 2  # drawn from ten groups of two instead of twenty images


def test_the_interval_holds_the_value() -> None:
    for estimate in count(blobs(12)).scores():
        assert estimate.low < estimate.value < estimate.high


def test_undefined_scores_are_nan() -> None:
    score = np.arange(6.0).reshape(2, 3)
    for truth in (np.zeros((2, 3), bool), np.ones((2, 3), bool)):
        scores = count([(truth, score)]).scores()
        assert math.isnan(scores.auroc.value)
        assert math.isnan(scores.aupro.value)
    assert math.isnan(PixelCurves().scores().auroc.value)


def test_bad_scores_are_refused() -> None:
    curves = PixelCurves()
    with pytest.raises(ValueError, match="finite"):
        curves.add(np.ones((1, 2), bool), np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="do not lie on"):
        curves.add(np.ones((2, 1), bool), np.array([[1.0, 2.0]]))
