"""The scores that can choose: the best step of a run, the best mix of start and adapted weights, and the verdict.

Each gives one value an image, or one a group of images where a single image says nothing, so that two networks can be
compared pair by pair and a difference can be told from luck. Higher is better in all of them.

Shapes: N images, D width, Q views of each image, U units: images or groups.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import RecipeError
from dinocli.quality.cosine import unit_rows
from dinocli.quality.scores import augmentation_retrieval, feature_std, rankme, uniformity
from dinocli.quality.views import lidar, neighbour_overlap

Array = NDArray[np.floating]
Values = NDArray[np.float64]

GROUPS = 10


@dataclass(frozen=True)
class Choice:
    """A score that can choose.

    Args:
        label: Its name in words.
        up: What is said of weights that have more of it, without the numbers.
        down: What is said of weights that have less.
        same: What is said where the difference may be luck.
        values: (N, D) features of clean images and (Q, N, D) of views of them to (U,) values.
        views: Views of each image that it needs, Q.
    """

    label: str
    up: str
    down: str
    same: str
    values: Callable[[Array, Array], Values]
    views: int = 1


def _score(label: str, values: Callable[[Array, Array], Values], views: int = 1) -> Choice:
    name = label[0].upper() + label[1:]
    return Choice(label, f"{name} rose", f"{name} fell", f"{name} did not clearly change", values, views)


def _retrieval_mrr(clean_ND: Array, views_QND: Array) -> Values:
    return augmentation_retrieval(clean_ND, views_QND[0]).reciprocal_rank_N


def _retrieval_top1(clean_ND: Array, views_QND: Array) -> Values:
    return augmentation_retrieval(clean_ND, views_QND[0]).hit_N.astype(np.float64)


def _view_mrr(clean_ND: Array, views_QND: Array) -> Values:
    return augmentation_retrieval(views_QND[0], views_QND[1]).reciprocal_rank_N


def _alignment(clean_ND: Array, views_QND: Array) -> Values:
    return np.asarray(-np.square(unit_rows(clean_ND) - unit_rows(views_QND[0])).sum(axis=1))


def _by_group(score: Callable[[Array, Array], float]) -> Callable[[Array, Array], Values]:
    """Turn a score of many images into one value for each of a few groups, every tenth image in one.

    The interval of ten paired values is wide, as it should be: the score of all images is one number only.
    """

    def values(clean_ND: Array, views_QND: Array) -> Values:
        groups = max(1, min(GROUPS, len(clean_ND) // 8))
        return np.array([score(clean_ND[part::groups], views_QND[:, part::groups]) for part in range(groups)])

    return values


CHOICES = {
    "retrieval_mrr": Choice(
        "mean reciprocal rank",
        "Augmented views find their own image more often than before",
        "Augmented views find their own image less often than before",
        "Augmented views find their own image as often as before",
        _retrieval_mrr,
    ),
    "retrieval_top1": _score("share of augmented views whose nearest image is their own", _retrieval_top1),
    "view_mrr": _score("mean reciprocal rank from view to view", _view_mrr, views=2),
    "alignment": _score("alignment of augmented views with their image", _alignment),
    "uniformity": _score("evenness of the features", _by_group(lambda clean, _: -uniformity(clean))),
    "feature_std": _score("spread of the features", _by_group(lambda clean, _: feature_std(clean))),
    "rankme": _score("number of dimensions in use (RankMe)", _by_group(lambda clean, _: rankme(clean))),
    "lidar": _score(
        "number of dimensions that tell images apart (LiDAR)", _by_group(lambda _, views: lidar(views)), views=4
    ),
    "overlap_of_views": _score(
        "share of neighbours on which two views agree",
        _by_group(lambda _, views: neighbour_overlap(views[0], views[1], k=5)),
        views=2,
    ),
}


def choice_of(name: str) -> Choice:
    """Look a score up.

    Raises:
        RecipeError: There is none of this name.
    """
    if name not in CHOICES:
        raise RecipeError(f"guard.score = {name!r}: there is no such score; there are {', '.join(CHOICES)}")
    return CHOICES[name]
