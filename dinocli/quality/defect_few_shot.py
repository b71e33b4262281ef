"""Synthetic-defect few-shot: accuracy of classifying images with and without a defect, from five examples of each.

Crop/quadrant retrieval measures instance discrimination. Training can improve it and lose the features that distinguish
a defective image from a good one. This score detects that: it can veto a verdict, never support one.

Legend: N images, n images with one kind of defect, D width, S draws of examples.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.cosine import unit_rows

DEFECT_SCORE = "defect_few_shot_5"
DEFECT_LABEL = "synthetic defects noticed, 5-shot (chance 0.5)"
"""Label of the mean over kinds of defects; chance is 0.5."""

RARE_DEFECT_SCORE = "defect_few_shot_5_rare"
RARE_DEFECT_LABEL = "... with pooled+rare"
"""Label of the same with the default feature of `embed`, in the line below."""

SHOTS, DRAWS = 5, 2000
"""Examples of each class, and number of draws: with fifty draws their noise equals that of the choice of images."""


def defect_few_shot(
    clean_ND: NDArray[np.floating], defect_ND: NDArray[np.floating], kind_N: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the contribution of each image to the score: its own accuracy plus its effect as an example.

    For each kind, five images with the defect and five without are drawn, and the others are classified by the nearest
    class mean. An image is never tested against itself, with or without its defect. Added to its accuracy over the
    draws is the influence as an example: how much the accuracy of the others exceeds their average when it is drawn.
    The influences sum to zero, so the mean over images is the accuracy; but its bootstrap interval over images then
    includes the variance of the examples, which all images share. Without it the interval was too narrow by up to half.

    Args:
        clean_ND: Finite features of the original images.
        defect_ND: Finite features of the same images with one defect each.
        kind_N: Kind of each defect.

    Returns:
        (N,), around 0 to 1; NaN for an image that was an example in every draw, and for a kind of fewer than two
        images.

    Source: nearest class mean of few examples: Snell et al. 2017, arXiv:1703.05175; influence: Efron 2014,
    Estimation and accuracy after model selection (infinitesimal jackknife over random draws). docs/guard.md compares it
    with other scores.
    """
    share_N = np.full(len(clean_ND), np.nan)
    for kind in np.unique(kind_N):
        rows = np.flatnonzero(kind_N == kind)
        if len(rows) > 1:
            share_N[rows] = _one_kind(unit_rows(clean_ND[rows]), unit_rows(defect_ND[rows]), int(kind))
    return share_N


def _one_kind(clean_nD: NDArray[np.floating], defect_nD: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
    """Return accuracy plus influence of each image for one kind of defect, (n,)."""
    shots, random = min(SHOTS, len(clean_nD) - 1), np.random.default_rng(seed)
    clean_drawn_Sn, defect_drawn_Sn = (random.random((DRAWS, len(clean_nD))).argsort(axis=1) < shots for _ in range(2))
    clean_mean_SD, defect_mean_SD = (
        unit_rows(drawn_Sn.astype(rows_nD.dtype) @ rows_nD)
        for drawn_Sn, rows_nD in ((clean_drawn_Sn, clean_nD), (defect_drawn_Sn, defect_nD))
    )
    direction_SD = defect_mean_SD - clean_mean_SD
    right_Sn = ((direction_SD @ clean_nD.T <= 0) * 0.5) + ((direction_SD @ defect_nD.T > 0) * 0.5)
    tested_Sn = ~(clean_drawn_Sn | defect_drawn_Sn)
    share_n = _mean(right_Sn, tested_Sn, axis=0)
    # Of each draw: accuracy of its tested images minus their average over all draws.
    better_S = _mean(right_Sn - np.nan_to_num(share_n), tested_Sn, axis=1)
    known_S = np.isfinite(better_S)
    influence_n = sum(
        shots * _mean(np.broadcast_to(better_S[known_S, None], drawn_Sn[known_S].shape), drawn_Sn[known_S], axis=0)
        for drawn_Sn in (clean_drawn_Sn, defect_drawn_Sn)
    )
    influence_n = np.where(np.isfinite(share_n), np.nan_to_num(influence_n), np.nan)
    return np.asarray(share_n + (1 - shots / len(share_n)) * (influence_n - np.nanmean(influence_n)))


def _mean(values: NDArray[np.floating], chosen: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """Average the chosen values along an axis; NaN where none is chosen."""
    count = chosen.sum(axis=axis)
    return np.asarray(np.where(chosen, values, 0).sum(axis=axis, dtype=np.float64) / np.where(count, count, np.nan))
