"""Synthetic-defect few-shot: can an image with a defect be told from one without, from five examples of each?

Crop/quadrant retrieval asks what tells images apart. A network can get better at that and lose what tells a flawed
image from a sound one; this score sees it, and so it may object to a verdict, and never speaks for one.

Shapes: N images, D width.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.few_shot import few_shot

KEY = "defect_few_shot_5"
LABEL = "synthetic defects noticed, 5-shot (chance 0.5)"
"""Mean over kinds of defects; guessing is right in half of the cases."""

SHOTS, DRAWS = 5, 50


def defect_few_shot(
    clean_ND: NDArray[np.floating], defect_ND: NDArray[np.floating], kind_N: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Say how often each image is rightly called sound, and flawed once it has a defect.

    Kind by kind: five images with it and five without are drawn, and the others are given the nearer mean. An image is
    never tested against itself, with or without its defect.

    Args:
        clean_ND: Finite features of the images as they are.
        defect_ND: Finite features of the same images with one defect each.
        kind_N: Which kind each one has.

    Returns:
        (N,), 0 to 1; not a number for an image that was drawn every time, and for a kind of fewer than two images.

    Source: nearest class mean, as `dinocli.quality.few_shot`; docs/guard.md has the comparison with other scores.
    """
    share_N = np.full(len(clean_ND), np.nan)
    for kind in np.unique(kind_N):
        rows = np.flatnonzero(kind_N == kind)
        if len(rows) < 2:
            continue
        both = np.concatenate([clean_ND[rows], defect_ND[rows]])
        flawed, image = np.repeat([0, 1], len(rows)), np.tile(rows, 2)
        right = few_shot(both, flawed, SHOTS, draws=DRAWS, groups_N=image).reshape(2, -1)
        share_N[rows] = right.mean(axis=0)
    return share_N


def mean_accuracy(share_N: NDArray[np.floating]) -> float:
    """Return the mean of what `defect_few_shot` gives; not a number where nothing was tested."""
    tested = share_N[np.isfinite(share_N)]
    return float(tested.mean()) if len(tested) else float("nan")
