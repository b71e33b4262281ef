"""Pooled features of a feature file, also of a `pooled+rare` file, whose rows are whitened and hold rare patches too.

Duplicates, odd images and the diverse subset use pooled features: their limits hold for cosines of the network's own
features, and a rare patch makes an image neither a duplicate nor odd.

Shapes: N rows, P width of the rows, D width of the pooled features.
"""

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FITTED_SUFFIX, FeatureFile, sidecar
from dinocli.files import folder_until_exit
from dinocli.models.token_kinds import POOLED_RARE

_BLOCK_ROWS = 4096


def missing_state(file: FeatureFile) -> str:
    """Return a message if the pooled part of `pooled+rare` rows cannot be computed; else empty."""
    state = sidecar(file.path, FITTED_SUFFIX)
    if file.meta.get("tokens") != POOLED_RARE or state.is_file():
        return ""
    return f"{state} is missing: copies and odd images are judged on whitened features with rare patches"


def pooled_rows(file: FeatureFile) -> NDArray[np.floating]:
    """Return the pooled features, (N, D): the rows themselves unless the file holds `pooled+rare` tokens.

    The pooled part of `pooled+rare` rows is computed block by block into a temporary file of this process. Without the
    fitted state, the rows are returned unchanged.

    Args:
        file: Feature file with one vector per row.

    Raises:
        WeightsError: The fitted state is damaged.
    """
    rows_NP = file.flat()
    if file.meta.get("tokens") != POOLED_RARE or missing_state(file):
        return rows_NP
    import torch

    from dinocli.engine.rare_features import RareFeatures

    features = RareFeatures.load(sidecar(file.path, FITTED_SUFFIX))
    width = features.pooled_part(torch.zeros(1, rows_NP.shape[1])).shape[1]
    pooled_ND = open_memmap(folder_until_exit() / "pooled.npy", "w+", np.float32, (len(rows_NP), width))
    for start in range(0, len(rows_NP), _BLOCK_ROWS):
        block_bP = torch.from_numpy(np.array(rows_NP[start : start + _BLOCK_ROWS], np.float32))
        pooled_ND[start : start + _BLOCK_ROWS] = features.pooled_part(block_bP).numpy()
    return pooled_ND
