"""Verdict on images that are like those of the start weights, where a higher score is not evidence."""

from dataclasses import replace

import numpy as np

from dinocli.quality.verdict import Verdict

NEAR_START = "these images are like those that the start was trained on"

NEAR_SHIFT = 0.325
"""Shift of variances (`dinocli.models.variance_shift`) below which images are like those of the start weights. On five
such sets (flowers, textures, insects, pets, photographs: .14 to .30) training lowered k-NN accuracy by labels by .4 to
1.8 points, and raised the score. On photographs of 64 px (.36) it raised k-NN by 3 points, on grey flowers (.41) it
changed it by less than half a point; on waste (.45), aerial images (.46) and all farther sets both rose."""


def near_start(verdict: Verdict, shift: float) -> Verdict:
    """Keep the start on images that are like those of its weights, also if the adapted weights have a higher score.

    Args:
        verdict: Verdict by the label-free scores.
        shift: Shift of the variances in the batch norms of the start; NaN if it has none.
    """
    if verdict.outcome == "worse" or not shift < NEAR_SHIFT:
        return verdict
    near, limit = (f"{100 * np.expm1(value):.0f} %" for value in (shift, NEAR_SHIFT))
    like = f"{NEAR_START}: in its batch norms variances differ by {near} (limit {limit})."
    if verdict.outcome == "better":
        like = f"But {like} On such images this score rose, and neighbours by labels got worse."
    else:
        like = f"Besides, {like} On such images training made neighbours by labels worse."
    return replace(verdict, outcome="no different", keep="start", reason=f"{verdict.reason} {like}")
