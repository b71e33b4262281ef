"""Did the training help, and which weights to keep: measure both ends of a run, then judge, in one sentence.

Shapes: N probe images, D width, Q views of each image, U units of the score that chooses: images, or groups of them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.compare import Difference, paired_bootstrap
from dinocli.quality.scores import alpha_req, augmentation_retrieval, feature_std, linear_cka, rankme
from dinocli.quality.selection_scores import SelectionScore

# A score below this share of its start is a collapse: half of the spread or of the dimensions are gone.
_COLLAPSE = 0.5

# Even if all of 5 images improve, chance does that in 2 * 0.5^5 = 6 % of all cases; with 6 it is 3 %.
_FEWEST_PAIRS = 6


@dataclass(frozen=True)
class Scores:
    """The label-free scores of one network on the probe images; see `dinocli.quality.scores`.

    Args:
        feature_std: Spread of the features, 0 to 1.
        rankme: Effective number of dimensions.
        alpha_req: Decay of the spectrum; not a number with very few images.
        retrieval_top1: Share of crops whose nearest image is their own.
        retrieval_mrr: Mean reciprocal rank of the own image.
        cka_to_start: Likeness to the start, 1 for the start itself: how far the training went.
        finite: All features are finite. If not, every other score is not a number.
    """

    feature_std: float
    rankme: float
    alpha_req: float
    retrieval_top1: float
    retrieval_mrr: float
    cka_to_start: float
    finite: bool


@dataclass(frozen=True)
class Verdict:
    """What a run achieved.

    Args:
        outcome: Of the adapted weights against the start.
        keep: The weights to go on with.
        reason: One sentence with the scores and their numbers.
    """

    outcome: Literal["better", "no different", "worse"]
    keep: Literal["adapted", "start"]
    reason: str


def measure(
    features_ND: NDArray[np.floating],
    views_QND: NDArray[np.floating],
    start_ND: NDArray[np.floating],
    choice: SelectionScore,
) -> tuple[Scores, NDArray[np.float64]]:
    """Compute all scores of one network on the probe images.

    Features that are not finite are a result, not an error: this is where a broken run is noticed.

    Args:
        features_ND: Features of the clean images.
        views_QND: Features of crops of each, and of its quarters where the choice needs them, same order; the same
            crops for every network of a run. At least as many as the choice needs.
        start_ND: Features of the clean images by the network that the run began with.
        choice: The score that chooses.

    Returns:
        The scores, and the values of the one that chooses, shape (U,), one for each image or group, which `judge` pairs
        with those of the other network.
    """
    if not (np.isfinite(features_ND).all() and np.isfinite(views_QND).all()):
        nan = float("nan")
        return Scores(nan, nan, nan, nan, nan, nan, finite=False), np.full(len(features_ND), nan)
    retrieval = augmentation_retrieval(features_ND, views_QND[0])
    scores = Scores(
        feature_std=feature_std(features_ND),
        rankme=rankme(features_ND),
        alpha_req=alpha_req(features_ND),
        retrieval_top1=float(retrieval.hit_N.mean()),
        retrieval_mrr=float(retrieval.reciprocal_rank_N.mean()),
        cka_to_start=linear_cka(features_ND, start_ND),
        finite=True,
    )
    return scores, choice.values(features_ND, views_QND)


def judge(
    start: Scores, end: Scores, start_U: NDArray[np.float64], end_U: NDArray[np.float64], choice: SelectionScore
) -> Verdict:
    """Say whether the adapted weights are better than the start, and which to keep.

    Worse: features are not finite, spread or rank fell below half of the start, or the score that chooses is clearly
    lower. Better: clearly higher, and none of these. Otherwise no different, and the start is kept: weights that were
    tested by many beat new ones that show no gain. "Clearly" means that the 95 % interval of the paired difference
    excludes 0.

    The known weakness: every label-free score rewards something else than what the user wants to know. Finding an image
    by its augmented view rewards invariance to the very changes that the training asks for; finding one quarter of an
    image by another rewards what all of an image shares, not a defect in one corner. Where labels exist, a score that
    uses them has the last word (`dinocli.quality.knn`).

    Args:
        start: Scores of the weights that the run began with.
        end: Scores of the adapted weights, on the same images and views.
        start_U: Values of the score that chooses by the start, from `measure`.
        end_U: Those by the adapted weights, the same images in the same order.
        choice: That score.

    Returns:
        Outcome, weights to keep and the reason.
    """
    if collapse := _collapse(start, end):
        return Verdict("worse", "start", collapse)
    if len(start_U) < _FEWEST_PAIRS:
        few = f"{len(start_U)} probe images, or groups of them, are too few to tell a difference from luck"
        return Verdict("no different", "start", f"{few} ({_FEWEST_PAIRS} are needed).")
    change = paired_bootstrap(start_U, end_U)
    numbers = _numbers(start, end, start_U, end_U, change, choice)
    if change.high < 0:
        return Verdict("worse", "start", f"{choice.down}: {numbers}.")
    if change.low > 0:
        return Verdict("better", "adapted", f"{choice.up}: {numbers}.")
    return Verdict("no different", "start", f"{choice.same}: {numbers}.")


def _collapse(start: Scores, end: Scores) -> str:
    """Return a sentence about values that are not finite or a collapse, empty if there is none."""
    if not end.finite:
        return "The adapted network gives features that are not finite."
    for name, before, after in (
        ("spread of the features (feature std)", start.feature_std, end.feature_std),
        ("number of dimensions in use (RankMe)", start.rankme, end.rankme),
    ):
        if after < _COLLAPSE * before:
            return (
                f"The {name} fell to {after / before:.0%} of the start, from {before:.4g} to {after:.4g}: a collapse."
            )
    return ""


def _numbers(
    start: Scores,
    end: Scores,
    start_U: NDArray[np.float64],
    end_U: NDArray[np.float64],
    change: Difference,
    choice: SelectionScore,
) -> str:
    return (
        f"{choice.label} from {start_U.mean():.3f} to {end_U.mean():.3f} "
        f"({change.mean:+.3f}, 95 % interval {change.low:+.3f} to {change.high:+.3f}), "
        f"feature std from {start.feature_std:.3f} to {end.feature_std:.3f}, "
        f"RankMe from {start.rankme:.1f} to {end.rankme:.1f}"
    )
