"""All canvases on the GPU, where they fit: a batch is then put together without the CPU touching a pixel.

Shapes: C channels, h w pixels of one canvas.
"""

import warnings

import torch
from torch import Tensor

from dinocli.data.store import Packed, Store

SHARE = 4
"""A quarter of the free memory of the GPU at most: the training itself needs the rest."""


def fits_on(device: torch.device, store: Store) -> bool:
    """Say whether a GPU has room to keep all canvases; a CPU has them already."""
    if device.type != "cuda" or not isinstance(store, Packed):
        return False
    return store.nbytes <= torch.cuda.mem_get_info(device)[0] // SHARE


class Resident:
    """A packed store, copied to a device once.

    Args:
        store: Of kind ``memory`` or ``disk``.
        device: Where to.
    """

    def __init__(self, store: Store, device: torch.device) -> None:
        assert isinstance(store, Packed)
        self._store = store
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns of read-only arrays; this one is only copied
            self._flat = torch.from_numpy(store.flat()).to(device, copy=True)

    def canvas(self, i: int, window: int) -> Tensor:
        """Return one canvas, (C, h, w): a view, not a copy."""
        start, height, width = self._store.place(i, window)
        size = self._store.channels * height * width
        return self._flat[start : start + size].view(self._store.channels, height, width)
