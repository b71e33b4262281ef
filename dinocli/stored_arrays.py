"""Checks of the arrays in files that commands write, as `dinocli.stored` has for JSON."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=np.generic)


def checked_array(values: NDArray[Any], kind: type[K], shape: tuple[int | None, ...]) -> NDArray[K]:
    """Return an array that a file may hold.

    Args:
        values: Array of the file.
        kind: Required dtype.
        shape: Required shape; None for any length above 0.

    Raises:
        ValueError: Another dtype or shape, or a value that is not finite.
    """
    fits = len(values.shape) == len(shape) and all(
        length > 0 if wanted is None else length == wanted for length, wanted in zip(values.shape, shape, strict=True)
    )
    if values.dtype != kind or not fits:
        raise ValueError(f"an array of {values.dtype} {values.shape} where {np.dtype(kind)} {shape} belongs")
    if not np.isfinite(values).all():
        raise ValueError("a value that is not finite")
    checked: NDArray[K] = values
    return checked
