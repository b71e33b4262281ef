"""The scores that can choose: the best step of a run, the best mix of start and adapted weights, and the verdict.

Each gives one value an image, or a few by leaving out images in turn where a single image says nothing, so that two
networks can be compared pair by pair and a difference can be told from luck. Higher is better in all of them.

Shapes: N images, D width, Q views of each image, U units: images, or parts of the sample left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import RecipeError
from dinocli.quality.cosine import unit_rows
from dinocli.quality.multiview_scores import lidar, neighbour_overlap
from dinocli.quality.scores import augmentation_retrieval, feature_std, rankme, uniformity

Array = NDArray[np.floating]
Values = NDArray[np.float64]

GROUPS = 10
PARTS = 4
"""Quarters of an image: upper left, upper right, lower left, lower right."""

_TINY = 1e-6


@dataclass(frozen=True)
class SelectionScore:
    """A score that can choose.

    Args:
        label: Its name in words.
        up: What is said of weights that have more of it, without the numbers.
        down: What is said of weights that have less.
        same: What is said where the difference may be luck.
        values: (N, D) features of clean images and (Q, N, D) of views of them to (U,) values.
        views: Crops of each image that it needs, colours unchanged.
        parts: It needs the quarters of each image too: they follow the crops in Q.
    """

    label: str
    up: str
    down: str
    same: str
    values: Callable[[Array, Array], Values]
    views: int = 1
    parts: bool = False


def _score(
    label: str, values: Callable[[Array, Array], Values], views: int = 1, *, parts: bool = False
) -> SelectionScore:
    name = label[0].upper() + label[1:]
    return SelectionScore(label, f"{name} rose", f"{name} fell", f"{name} did not clearly change", values, views, parts)


def _retrieval_mrr(clean_ND: Array, views_QND: Array) -> Values:
    return augmentation_retrieval(clean_ND, views_QND[0]).reciprocal_rank_N


def _retrieval_top1(clean_ND: Array, views_QND: Array) -> Values:
    return augmentation_retrieval(clean_ND, views_QND[0]).hit_N.astype(np.float64)


def _view_mrr(clean_ND: Array, views_QND: Array) -> Values:
    return augmentation_retrieval(views_QND[0], views_QND[1]).reciprocal_rank_N


def _alignment(clean_ND: Array, views_QND: Array) -> Values:
    return np.asarray(-np.square(unit_rows(clean_ND) - unit_rows(views_QND[0])).sum(axis=1))


def _across(parts_4ND: Array) -> NDArray[np.float64]:
    """Return the reciprocal ranks at which quarters find the opposite ones: (2, N), one row a pair."""
    upper_left, upper_right, lower_left, lower_right = parts_4ND
    pairs = ((upper_left, lower_right), (upper_right, lower_left))
    return np.stack([augmentation_retrieval(one, other).reciprocal_rank_N for one, other in pairs])


def _pieces(clean_ND: Array, views_QND: Array) -> Values:
    """Score crops and quarters of images: the logs of the ranks at which they find their image, 0 at best.

    No colour is changed, so that a network that has learnt to ignore what the training changes wins nothing by it. The
    mean of logs says the same as the log of the mean, with half of its noise where most quarters are not found at all.
    """
    crop_N = augmentation_retrieval(clean_ND, views_QND[0]).reciprocal_rank_N
    return np.asarray(np.log(crop_N) + np.log(_across(views_QND[-PARTS:])).mean(axis=0))


def _parts(_: Array, views_QND: Array) -> float:
    """Score quarters of images: does one find its opposite, and by how many dimensions are images told apart."""
    parts_4ND = views_QND[-PARTS:]
    return float(np.log(_across(parts_4ND).mean()) + np.log(max(lidar(parts_4ND), _TINY)))


def _jackknife(score: Callable[[Array, Array], float]) -> Callable[[Array, Array], Values]:
    """Turn a score of many images into about ten values whose mean is the score, by leaving out a tenth at a time.

    They spread as the score does from sample to sample.

    Source: Tukey 1958, Bias and confidence in not-quite large samples (pseudo-values). Departs: their mean is not
        corrected for bias, which would make ten times the noise of it.
    """

    def values(clean_ND: Array, views_QND: Array) -> Values:
        count = len(clean_ND)
        groups = min(GROUPS, count // 2)
        whole = score(clean_ND, views_QND)
        if groups < 2:
            return np.array([whole])
        place = np.arange(count) % groups
        without = np.array([score(clean_ND[place != group], views_QND[:, place != group]) for group in range(groups)])
        return np.asarray(whole + (groups - 1) * (without.mean() - without))

    return values


CHOICES = {
    "pieces": SelectionScore(
        "pieces score (mean log reciprocal rank of crops and of quarters)",
        "Pieces of an image find it more often than before",
        "Pieces of an image find it less often than before",
        "Pieces of an image find it as often as before",
        _pieces,
        parts=True,
    ),
    "parts": SelectionScore(
        "parts score (log of mean reciprocal rank x LiDAR)",
        "Parts of an image find each other, and images are told apart, better than before",
        "Parts of an image find each other, or images are told apart, worse than before",
        "Parts of an image find each other, and images are told apart, as well as before",
        _jackknife(_parts),
        parts=True,
    ),
    "retrieval_mrr": SelectionScore(
        "mean reciprocal rank",
        "Crops find their own image more often than before",
        "Crops find their own image less often than before",
        "Crops find their own image as often as before",
        _retrieval_mrr,
    ),
    "retrieval_top1": _score("share of crops whose nearest image is their own", _retrieval_top1),
    "view_mrr": _score("mean reciprocal rank from crop to crop", _view_mrr, views=2),
    "alignment": _score("alignment of crops with their image", _alignment),
    "uniformity": _score("evenness of the features", _jackknife(lambda clean, _: -uniformity(clean))),
    "feature_std": _score("spread of the features", _jackknife(lambda clean, _: feature_std(clean))),
    "rankme": _score("number of dimensions in use (RankMe)", _jackknife(lambda clean, _: rankme(clean))),
    "lidar": _score(
        "number of dimensions that tell images apart (LiDAR)", _jackknife(lambda _, views: lidar(views)), views=4
    ),
    "overlap_of_views": _score(
        "share of neighbours on which two crops agree",
        _jackknife(lambda _, views: neighbour_overlap(views[0], views[1], k=5)),
        views=2,
    ),
}


def selection_score(name: str) -> SelectionScore:
    """Look a score up.

    Raises:
        RecipeError: There is none of this name.
    """
    if name not in CHOICES:
        raise RecipeError(f"guard.score = {name!r}: there is no such score; there are {', '.join(CHOICES)}")
    return CHOICES[name]
