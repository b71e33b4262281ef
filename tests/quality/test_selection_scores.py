"""The scores that can choose: higher is better in all, pair by pair."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.errors import RecipeError
from dinocli.quality.scores import augmentation_retrieval, rankme
from dinocli.quality.selection_scores import CHOICES, PARTS, _jackknife, selection_score
from dinocli.quality.verdict import judge, measure

Features = NDArray[np.float64]


def network(noise: float, dimensions: int = 24, images: int = 160) -> tuple[Features, Features]:
    """Features of images, and of four views or parts that differ from them by noise."""
    random = np.random.default_rng(0)
    clean = random.standard_normal((images, 24))
    clean[:, dimensions:] = 0
    return clean, clean + noise * random.standard_normal((4, images, 24))


GOOD, NOISY, FLAT = network(0.4), network(1.5), network(0.4, dimensions=3)
SEES_NOISE = ("pieces", "parts", "retrieval_mrr", "retrieval_top1", "view_mrr", "alignment", "overlap_of_views")
SEES_COLLAPSE = ("pieces", "parts", "uniformity", "feature_std", "rankme", "lidar", "retrieval_mrr")


def test_every_score_is_tested() -> None:
    assert {*SEES_NOISE, *SEES_COLLAPSE} == CHOICES.keys()


@pytest.mark.parametrize(
    ("name", "worse"), [*((name, NOISY) for name in SEES_NOISE), *((name, FLAT) for name in SEES_COLLAPSE)]
)
def test_higher_is_better_and_the_verdict_follows(name: str, worse: tuple[Features, Features]) -> None:
    choice = selection_score(name)
    good, bad = (
        measure(clean, views[: PARTS if choice.parts else choice.views], GOOD[0], choice)
        for clean, views in (GOOD, worse)
    )
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
    pseudo = CHOICES["rankme"].values(clean, views)
    without = [rankme(clean[np.arange(160) % 10 != group]) for group in range(10)]
    assert pseudo.mean() == pytest.approx(rankme(clean))
    np.testing.assert_allclose(pseudo - pseudo[0], [9 * (without[0] - other) for other in without])
    assert len(CHOICES["rankme"].values(clean[:12], views[:, :12])) == 6, "two images at least are left out"
    assert CHOICES["rankme"].values(clean[:3], views[:, :3]).tolist() == [rankme(clean[:3])]


def test_left_out_tenths_of_a_mean_are_the_mean_of_each_tenth() -> None:
    values = _jackknife(lambda clean, _: float(clean.mean()))(GOOD[0], GOOD[1])
    np.testing.assert_allclose(values, [GOOD[0][group::10].mean() for group in range(10)])


def test_parts_are_looked_for_in_the_corner_across() -> None:
    clean, views = GOOD
    swapped = views[[1, 0, 3, 2]]  # left and right change places: the pairs stay
    for name in ("parts", "pieces"):
        both = [np.concatenate([views[:1], given]) for given in (views, swapped)]
        same, other = (CHOICES[name].values(clean, given).mean() for given in both)
        assert same == pytest.approx(other)
    lost = views.copy()
    lost[:2] = lost[:2, ::-1]  # the upper corners are those of other images
    assert CHOICES["parts"].values(clean, lost).mean() < CHOICES["parts"].values(clean, views).mean() - 1


def test_pieces_are_the_logs_of_the_ranks_of_crops_and_of_opposite_quarters() -> None:
    clean, views = NOISY
    crops = augmentation_retrieval(clean, views[0]).reciprocal_rank_N
    pairs = [augmentation_retrieval(views[a], views[b]).reciprocal_rank_N for a, b in ((0, 3), (1, 2))]
    expected = np.log(crops) + (np.log(pairs[0]) + np.log(pairs[1])) / 2
    np.testing.assert_allclose(CHOICES["pieces"].values(clean, views), expected)


def test_an_unknown_score_is_named() -> None:
    with pytest.raises(RecipeError, match=r"guard\.score = 'beauty': there is no such score; there are pieces,"):
        selection_score("beauty")
