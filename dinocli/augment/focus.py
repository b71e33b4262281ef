"""Focus: some crops are centred where a map of the image says that there is something to see.

A random crop of a part with one small defect mostly shows none of it. What is drawn here is where a crop is centred;
how large it is, and everything else, stays as it was drawn. A crop cannot leave its image, so at the border its centre
moves inwards, and the chosen place is still in it.

Legend: B images of this call, N of the global batch, V views of a kind, M images of the folder, g cells of a side.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_STREAM = 1 << 16
"""Behind the numbers of the operations of a view, so that the draws of these stay as they are."""


class Focus:
    """Draws centres of crops.

    Args:
        share: Of the crops that are centred by the map of their image, 0 to 1.
        maps_Mgg: How likely each cell is chosen, up to a factor; one map for each image of the folder, or one for all.
            An image whose map is 0 everywhere keeps its crops as they are drawn.
        region_gg: Likewise for the other crops of every image; None leaves them as they are drawn.
    """

    def __init__(self, share: float, maps_Mgg: NDArray[np.uint8], region_gg: NDArray[np.uint8] | None = None) -> None:
        self.share, self.maps_Mgg, self.region_gg = share, maps_Mgg, region_gg

    def centres(
        self, rows: Sequence[int], *, views: int, start: int, global_batch: int, key: tuple[int, ...]
    ) -> Tensor:
        """Draw a centre for each view of some images.

        Args:
            rows: Number of each image in the folder.
            views: V.
            start: Place of the first one in the global batch.
            global_batch: N.
            key: Numbers that the draw is a function of.

        Returns:
            (V, B, 2) float64: down and right, shares of the image's height and width; NaN where the crop is free.
        """
        drawn_VB4 = np.random.default_rng((*key, _STREAM)).random((views, global_batch, 4))
        drawn_VB4 = drawn_VB4[:, start : start + len(rows)]
        found_VB2 = _placed(self.maps_Mgg[np.asarray(rows) % len(self.maps_Mgg)], drawn_VB4)
        others_VB2 = np.full_like(found_VB2, np.nan)
        if self.region_gg is not None:
            others_VB2 = _placed(np.repeat(self.region_gg[None], len(rows), axis=0), drawn_VB4)
        return torch.from_numpy(np.where(drawn_VB4[..., :1] < self.share, found_VB2, others_VB2))


def _placed(maps_Bgg: NDArray[np.uint8], drawn_VB4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Choose a cell of each map by the second number, and a place in it by the others; NaN where a map is 0."""
    side = maps_Bgg.shape[-1]
    sums_Bc = maps_Bgg.reshape(len(maps_Bgg), -1).cumsum(axis=1, dtype=np.int64)
    total_B = sums_Bc[:, -1]
    aim_VB = (drawn_VB4[..., 1] * total_B).astype(np.int64)
    cell_VB = (sums_Bc[None] <= aim_VB[..., None]).sum(axis=2)
    cell_VB2 = np.stack(np.divmod(np.minimum(cell_VB, side * side - 1), side), axis=-1)
    return np.where(total_B[:, None] > 0, (cell_VB2 + drawn_VB4[..., 2:]) / side, np.nan)
