"""Pooled features of a `pooled+rare` file, whose rows are whitened and hold rare patches too.

Duplicates, odd images and the diverse subset use pooled features: their limits hold for cosines of the network's own
features, and a rare patch makes an image neither a duplicate nor odd.

Shapes: N rows, P width of the rows, D width of the pooled features.
"""

from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from dinocli.files import folder_until_exit

_BLOCK_ROWS = 4096


def pooled_rows(rows_NP: NDArray[np.floating], state: Path) -> NDArray[np.floating]:
    """Return the pooled features, (N, D), computed block by block into a temporary file of this process.

    Args:
        rows_NP: Rows of a `pooled+rare` file.
        state: File of the state that they were fitted with.

    Raises:
        WeightsError: The fitted state is damaged.
    """
    import torch

    from dinocli.engine.rare_features import RareFeatures

    features = RareFeatures.load(state)
    width = features.pooled_part(torch.zeros(1, rows_NP.shape[1])).shape[1]
    pooled_ND = open_memmap(folder_until_exit() / "pooled.npy", "w+", np.float32, (len(rows_NP), width))
    for start in range(0, len(rows_NP), _BLOCK_ROWS):
        block_bP = torch.from_numpy(np.array(rows_NP[start : start + _BLOCK_ROWS], np.float32))
        pooled_ND[start : start + _BLOCK_ROWS] = features.pooled_part(block_bP).numpy()
    return pooled_ND
