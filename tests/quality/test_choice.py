"""The scores that can choose: higher is better in all, pair by pair."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.errors import RecipeError
from dinocli.quality.choice import CHOICES, choice_of
from dinocli.quality.scores import augmentation_retrieval, rankme
from dinocli.quality.verdict import judge, measure

Features = NDArray[np.float64]


def network(noise: float, dimensions: int = 24, images: int = 160) -> tuple[Features, Features]:
    """Features of images, and of four views that differ from them by noise."""
    random = np.random.default_rng(0)
    clean = random.standard_normal((images, 24))
    clean[:, dimensions:] = 0
    return clean, clean + noise * random.standard_normal((4, images, 24))


GOOD, NOISY, FLAT = network(0.4), network(1.5), network(0.4, dimensions=3)
SEES_NOISE = ("retrieval_mrr", "retrieval_top1", "view_mrr", "alignment", "overlap_of_views")
SEES_COLLAPSE = ("uniformity", "feature_std", "rankme", "lidar", "retrieval_mrr")


def test_every_score_is_tested() -> None:
    assert {*SEES_NOISE, *SEES_COLLAPSE} == CHOICES.keys()


@pytest.mark.parametrize(
    ("name", "worse"), [*((name, NOISY) for name in SEES_NOISE), *((name, FLAT) for name in SEES_COLLAPSE)]
)
def test_higher_is_better_and_the_verdict_follows(name: str, worse: tuple[Features, Features]) -> None:
    choice = choice_of(name)
    good, bad = (measure(clean, views[: choice.views], GOOD[0], choice) for clean, views in (GOOD, worse))
    assert good[1].shape == bad[1].shape
    assert len(good[1]) in (160, 10)
    assert good[1].mean() > bad[1].mean()
    assert judge(bad[0], good[0], bad[1], good[1], choice).outcome == "better"
    found = judge(good[0], bad[0], good[1], bad[1], choice)
    assert (found.outcome, found.keep) == ("worse", "start")
    same = judge(good[0], good[0], good[1], good[1], choice)
    assert (same.outcome, same.keep) == ("no different", "start")
    assert choice.label in same.reason


def test_values_are_those_of_the_scores() -> None:
    clean, views = GOOD
    by_image = CHOICES["retrieval_mrr"].values(clean, views)
    assert np.array_equal(by_image, augmentation_retrieval(clean, views[0]).reciprocal_rank_N)
    by_group = CHOICES["rankme"].values(clean, views)
    assert by_group.tolist() == [rankme(clean[group::10]) for group in range(10)]
    assert len(CHOICES["rankme"].values(clean[:20], views[:, :20])) == 2, "groups of at least eight"


def test_an_unknown_score_is_named() -> None:
    with pytest.raises(RecipeError, match=r"guard\.score = 'beauty': there is no such score; there are retrieval_mrr,"):
        choice_of("beauty")
