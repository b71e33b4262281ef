"""Synthetic points with known groups."""

import numpy as np
from numpy.typing import NDArray


def mixture(
    groups: int, count: int, *, width: int = 32, noise: float = 1.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return rows around random directions, of very different lengths, and the group of each."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(groups, size=count)
    rows = rng.normal(size=(groups, width))[truth] + noise * rng.normal(size=(count, width))
    return (rows * rng.uniform(0.1, 10, (count, 1))).astype(np.float32), truth.astype(np.intp)


def cloud(count: int, *, width: int = 32, seed: int = 0) -> NDArray[np.float32]:
    """Return one long cloud without groups, far from the origin, as features of a narrow domain are."""
    rng = np.random.default_rng(seed)
    rows = 3 * rng.normal(size=width) + 4 * rng.normal(size=(count, width)) / np.arange(1, width + 1) ** 0.7
    return rows.astype(np.float32)
