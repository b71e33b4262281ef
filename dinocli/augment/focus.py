"""Focus: centre some of the crops by sampling from a map of the image, such as a rarity map.

A random crop of a part with one small defect rarely shows it. Only the centre of a crop is changed; its size and all
other parameters stay as drawn. At the border the crop is shifted inwards and still contains the sampled position.

Legend: B images of this call, N of the global batch, V views of a kind, M images of the folder, g cells of a side.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_STREAM = 1 << 16
"""Key of the random stream, above the numbers of the operations of a view, so that their draws do not change."""


class Focus:
    """Sampler of crop centres.

    Args:
        share: Share of the crops that are centred by the map of their image, 0 to 1.
        maps_Mgg: Unnormalised probability of each cell; one map for each image of the folder, or one for all. Crops of
            an image whose map is 0 everywhere stay as drawn.
        region_gg: Unnormalised probability of each cell for the other crops of every image; None leaves them as drawn.
    """

    def __init__(self, share: float, maps_Mgg: NDArray[np.uint8], region_gg: NDArray[np.uint8] | None = None) -> None:
        self.share, self.maps_Mgg, self.region_gg = share, maps_Mgg, region_gg

    def centres(
        self, rows: Sequence[int], *, views: int, start: int, global_batch: int, key: tuple[int, ...]
    ) -> Tensor:
        """Draw a centre for each view of some images.

        Args:
            rows: Index of each image in the folder.
            views: Number of views, V.
            start: Position of the first image in the global batch.
            global_batch: Size of the global batch, N.
            key: Integers that determine the draw.

        Returns:
            (V, B, 2) float64: (y, x) as shares of the image's height and width; NaN where the crop is not centred.
        """
        drawn_VB4 = np.random.default_rng((*key, _STREAM)).random((views, global_batch, 4))
        drawn_VB4 = drawn_VB4[:, start : start + len(rows)]
        focused_VB2 = _sampled(self.maps_Mgg[np.asarray(rows) % len(self.maps_Mgg)], drawn_VB4)
        others_VB2 = np.full_like(focused_VB2, np.nan)
        if self.region_gg is not None:
            others_VB2 = _sampled(np.repeat(self.region_gg[None], len(rows), axis=0), drawn_VB4)
        return torch.from_numpy(np.where(drawn_VB4[..., :1] < self.share, focused_VB2, others_VB2))


def _sampled(maps_Bgg: NDArray[np.uint8], drawn_VB4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sample a cell of each map by the second number, and a position within it by the others; NaN if the map is 0."""
    side = maps_Bgg.shape[-1]
    sums_Bc = maps_Bgg.reshape(len(maps_Bgg), -1).cumsum(axis=1, dtype=np.int64)
    total_B = sums_Bc[:, -1]
    threshold_VB = (drawn_VB4[..., 1] * total_B).astype(np.int64)
    cell_VB = (sums_Bc[None] <= threshold_VB[..., None]).sum(axis=2)
    cell_VB2 = np.stack(np.divmod(np.minimum(cell_VB, side * side - 1), side), axis=-1)
    return np.where(total_B[:, None] > 0, (cell_VB2 + drawn_VB4[..., 2:]) / side, np.nan)
