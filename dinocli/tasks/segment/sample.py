"""A sample of the patches of a folder, with the image of each.

Legend: N patches, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.tasks.segment.method import FeatureGrid


class Patches(NamedTuple):
    """Patches of several images.

    Args:
        features_ND: float32.
        image_N: Where each one comes from, as in `FeatureGrid.image`.
    """

    features_ND: NDArray[np.float32]
    image_N: NDArray[np.int64]


def sample_patches(sample: Sequence[FeatureGrid], count: int, seed: int) -> Patches:
    """Draw the same number of patches from every image, at random, all of an image that has no more.

    Args:
        sample: Grids of one width.
        count: Patches wanted in all, at least one an image.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    each = max(1, count // len(sample))
    features, images = [], []
    for grid in sample:
        patches_ND = grid.values_hwD.reshape(-1, grid.values_hwD.shape[-1])
        drawn = rng.choice(len(patches_ND), min(each, len(patches_ND)), replace=False)
        features.append(patches_ND[drawn])
        images.append(np.full(len(drawn), grid.image))
    return Patches(np.concatenate(features), np.concatenate(images))
