"""Crop/quadrant retrieval, per image; higher is better."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.crop_quadrant_retrieval import crop_quadrant_retrieval
from dinocli.quality.probe_result import ProbeResult, measure
from dinocli.quality.scores import augmentation_retrieval
from dinocli.quality.verdict import judge

Features = NDArray[np.float64]


def network(noise: float, dimensions: int = 24, images: int = 160) -> tuple[Features, Features]:
    """Return features of images and of four quadrants that differ by noise; the first also serves as the crop."""
    random = np.random.default_rng(0)
    clean = random.standard_normal((images, 24))
    clean[:, dimensions:] = 0
    return clean, clean + noise * random.standard_normal((4, images, 24))


GOOD, NOISY, FLAT = network(0.4), network(1.5), network(0.4, dimensions=3)


@pytest.mark.parametrize("worse", [NOISY, FLAT], ids=["noise", "lost dimensions"])
def test_higher_is_better_and_the_verdict_follows(worse: tuple[Features, Features]) -> None:
    good, bad = (measure(clean, views[0], views, GOOD[0]) for clean, views in (GOOD, worse))
    assert good[1].shape == bad[1].shape == (160,)
    assert 0 >= good[1].mean() > bad[1].mean()
    assert judge(ProbeResult(0, *bad), ProbeResult(1, *good)).outcome == "better"
    found = judge(ProbeResult(0, *good), ProbeResult(1, *bad))
    assert (found.outcome, found.keep) == ("worse", "start")
    same = judge(ProbeResult(0, *good), ProbeResult(1, *good))
    assert (same.outcome, same.keep) == ("no different", "start")
    assert "crop/quadrant retrieval" in same.reason


def test_quadrants_search_the_opposite_corner() -> None:
    clean, views = GOOD
    swapped = views[[1, 0, 3, 2]]  # swaps left and right; the pairs stay
    same, other = (crop_quadrant_retrieval(clean, views[0], given).mean() for given in (views, swapped))
    assert same == pytest.approx(other)
    lost = views.copy()
    lost[:2] = lost[:2, ::-1]  # the upper quadrants are those of other images
    assert crop_quadrant_retrieval(clean, views[0], lost).mean() < same - 1


def test_values_are_the_logs_of_the_ranks_of_crops_and_of_opposite_quadrants() -> None:
    clean, views = NOISY
    crops = augmentation_retrieval(clean, views[0]).reciprocal_rank_N
    pairs = [augmentation_retrieval(views[a], views[b]).reciprocal_rank_N for a, b in ((0, 3), (1, 2))]
    expected = np.log(crops) + (np.log(pairs[0]) + np.log(pairs[1])) / 2
    np.testing.assert_allclose(crop_quadrant_retrieval(clean, views[0], views), expected)
