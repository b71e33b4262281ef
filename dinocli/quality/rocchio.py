"""Relevance feedback: one query from examples of what is searched and of what is not.

Source: Rocchio 1971. Shapes: Q queries, D width.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.cosine import unit_rows

UNLIKE_WEIGHT = 0.5
"""Weight of unlike queries; the other queries have weight 1."""


def combined_query(
    like_QD: Sequence[NDArray[np.floating]], unlike_QD: Sequence[NDArray[np.floating]]
) -> NDArray[np.float64]:
    """Return the mean direction of `like_QD` minus half of the mean direction of `unlike_QD`, which may be empty."""
    direction_D: NDArray[np.float64] = unit_rows(np.stack(like_QD)).mean(axis=0)
    return direction_D - UNLIKE_WEIGHT * unit_rows(np.stack(unlike_QD)).mean(axis=0) if unlike_QD else direction_D
