"""Synthetic-defect few-shot: can an image with a defect be told from one without, from five examples of each?

Crop/quadrant retrieval asks what tells images apart. A network can get better at that and lose what tells a flawed
image from a sound one; this score sees it, and so it may object to a verdict, and never speaks for one.

Legend: N images, n images with one kind of defect, D width, S draws of examples.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.cosine import unit_rows

KEY = "defect_few_shot_5"
LABEL = "synthetic defects noticed, 5-shot (chance 0.5)"
"""Mean over kinds of defects; guessing is right in half of the cases."""

SHOTS, DRAWS = 5, 2000
"""Examples of each side, and how often they are drawn: fifty draws moved the score as much as the choice of images."""


def defect_few_shot(
    clean_ND: NDArray[np.floating], defect_ND: NDArray[np.floating], kind_N: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Say what each image gives to the score: how often it is told rightly, and how good an example it is.

    Kind by kind: five images with it and five without are drawn, and the others are given the nearer mean. An image is
    never tested against itself, with or without its defect. To its own share of right answers is added how much better
    than on average the others are told when it is an example. These additions sum to zero, so the mean over images is
    the share of right answers; but its interval, by bootstrap over images, then knows of the examples too, which all
    images share. Without them it was too narrow by up to half.

    Args:
        clean_ND: Finite features of the images as they are.
        defect_ND: Finite features of the same images with one defect each.
        kind_N: Which kind each one has.

    Returns:
        (N,), around 0 to 1; not a number for an image that was drawn every time, and for a kind of fewer than two
        images.

    Source: nearest class mean of few examples: Snell et al. 2017, arXiv:1703.05175; the additions: Efron 2014,
    Estimation and accuracy after model selection (infinitesimal jackknife over random draws). docs/guard.md has the
    comparison with other scores.
    """
    share_N = np.full(len(clean_ND), np.nan)
    for kind in np.unique(kind_N):
        rows = np.flatnonzero(kind_N == kind)
        if len(rows) > 1:
            share_N[rows] = _one_kind(unit_rows(clean_ND[rows]), unit_rows(defect_ND[rows]), int(kind))
    return share_N


def mean_accuracy(share_N: NDArray[np.floating]) -> float:
    """Return the mean of what `defect_few_shot` gives; not a number where nothing was tested."""
    tested = share_N[np.isfinite(share_N)]
    return float(tested.mean()) if len(tested) else float("nan")


def _one_kind(clean_nD: NDArray[np.floating], flawed_nD: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
    """Draw examples, test the others, and add to each image's share what it gives as an example."""
    shots, random = min(SHOTS, len(clean_nD) - 1), np.random.default_rng(seed)
    sound_Sn, ill_Sn = (random.random((DRAWS, len(clean_nD))).argsort(axis=1) < shots for _ in range(2))
    mean_SD, mean_ill_SD = (
        unit_rows(drawn_Sn.astype(rows_nD.dtype) @ rows_nD)
        for drawn_Sn, rows_nD in ((sound_Sn, clean_nD), (ill_Sn, flawed_nD))
    )
    side_SD = mean_ill_SD - mean_SD
    right_Sn = ((side_SD @ clean_nD.T <= 0) * 0.5) + ((side_SD @ flawed_nD.T > 0) * 0.5)
    tested_Sn = ~(sound_Sn | ill_Sn)
    share_n = _mean(right_Sn, tested_Sn, axis=0)
    # Of a draw: how much better its tested images are told than they are on average.
    better_S = _mean(right_Sn - np.nan_to_num(share_n), tested_Sn, axis=1)
    known_S = np.isfinite(better_S)
    as_example_n = sum(
        shots * _mean(np.broadcast_to(better_S[known_S, None], drawn_Sn[known_S].shape), drawn_Sn[known_S], axis=0)
        for drawn_Sn in (sound_Sn, ill_Sn)
    )
    as_example_n = np.where(np.isfinite(share_n), np.nan_to_num(as_example_n), np.nan)
    return np.asarray(share_n + (1 - shots / len(share_n)) * (as_example_n - np.nanmean(as_example_n)))


def _mean(values: NDArray[np.floating], chosen: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """Average the chosen values; not a number where there is none."""
    count = chosen.sum(axis=axis)
    return np.asarray(np.where(chosen, values, 0).sum(axis=axis, dtype=np.float64) / np.where(count, count, np.nan))
