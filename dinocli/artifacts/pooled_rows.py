"""The pooled features of a feature file, also where its rows hold rare patches beside them and are whitened.

Copies, odd images and the diverse subset are judged on these: their limits belong to features whose cosines are those
of the network, and a rare patch is no reason to call an image a copy or odd.

Shapes: N rows, D width.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FITTED_SUFFIX, FeatureFile, sidecar
from dinocli.files import folder_until_exit

WITH_POOLED = "pooled+rare"
_BLOCK = 4096


def pooled_rows(file: FeatureFile, tell: Callable[[str], Any] = lambda _: None) -> NDArray[np.floating]:
    """Return the pooled features, (N, D): the rows themselves where nothing was joined to them.

    They are computed block by block into a file that lives as long as this process.

    Args:
        file: The feature file, of one vector a row.
        tell: Is told where they cannot be recovered, and the rows are taken as they are.

    Raises:
        WeightsError: What the features were fitted to is damaged.
    """
    rows_NP = file.flat()
    if file.meta.get("tokens") != WITH_POOLED:
        return rows_NP
    state = sidecar(file.path, FITTED_SUFFIX)
    if not state.is_file():
        tell(f"{state} is not there: copies and odd images are judged on whitened features with rare patches")
        return rows_NP
    import torch

    from dinocli.engine.rare_features import RareFeatures

    features = RareFeatures.load(state)
    width = features.pooled_part(torch.zeros(1, rows_NP.shape[1])).shape[1]
    pooled_ND = open_memmap(folder_until_exit() / "pooled.npy", "w+", np.float32, (len(rows_NP), width))
    for first in range(0, len(rows_NP), _BLOCK):
        block = torch.from_numpy(np.array(rows_NP[first : first + _BLOCK], np.float32))
        pooled_ND[first : first + _BLOCK] = features.pooled_part(block).numpy()
    return pooled_ND
