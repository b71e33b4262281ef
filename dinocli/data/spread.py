"""Evenly spread samples that no regular pattern of an image can align with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN_RATIO = (5**0.5 - 1) / 2


def spread(values: NDArray[Any], most: int) -> NDArray[Any]:
    """Return at most `most` values, evenly spread along the first axis; all if there are no more.

    One value is taken from each of `most` equal parts, at an offset that differs from part to part (multiples of the
    golden ratio, modulo 1). A constant step that divides the row length would take the same columns of every row, and
    one divisible by 3 the red values of RGB alone. If N is less than twice `most`, a few values are taken twice. The
    same places are taken from arrays of equal length.

    Args:
        values: (N, ...).
        most: Maximum number of values; less than 1 counts as 1.
    """
    count = max(1, most)
    if len(values) <= count:
        return values
    parts = np.arange(count)
    places = (parts + parts * _GOLDEN_RATIO % 1) * (len(values) / count)
    return np.asarray(values[np.minimum(places.astype(np.int64), len(values) - 1)])
