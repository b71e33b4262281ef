"""Pooled features of a feature file, also of a `pooled+rare` file, whose rows are whitened and hold rare patches too.

Duplicates, odd images and the diverse subset use pooled features: their limits hold for cosines of the network's own
features, and a rare patch makes an image neither a duplicate nor odd.

Shapes: N rows, P width of the rows, D width of the pooled features.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FITTED_SUFFIX, FeatureFile, sidecar
from dinocli.files import folder_until_exit
from dinocli.models.token_kinds import POOLED_RARE

_BLOCK_ROWS = 4096


def pooled_rows(file: FeatureFile, notify: Callable[[str], Any] = lambda _: None) -> NDArray[np.floating]:
    """Return the pooled features, (N, D): the rows themselves unless the file holds `pooled+rare` tokens.

    The pooled part of `pooled+rare` rows is computed block by block into a temporary file of this process.

    Args:
        file: Feature file with one vector per row.
        notify: Receives a line if the fitted state is missing; the rows are then returned unchanged.

    Raises:
        WeightsError: The fitted state is damaged.
    """
    rows_NP = file.flat()
    if file.meta.get("tokens") != POOLED_RARE:
        return rows_NP
    state = sidecar(file.path, FITTED_SUFFIX)
    if not state.is_file():
        notify(f"{state} is missing: copies and odd images are judged on whitened features with rare patches")
        return rows_NP
    import torch

    from dinocli.engine.rare_features import RareFeatures

    features = RareFeatures.load(state)
    width = features.pooled_part(torch.zeros(1, rows_NP.shape[1])).shape[1]
    pooled_ND = open_memmap(folder_until_exit() / "pooled.npy", "w+", np.float32, (len(rows_NP), width))
    for start in range(0, len(rows_NP), _BLOCK_ROWS):
        block_bP = torch.from_numpy(np.array(rows_NP[start : start + _BLOCK_ROWS], np.float32))
        pooled_ND[start : start + _BLOCK_ROWS] = features.pooled_part(block_bP).numpy()
    return pooled_ND
