"""All canvases in the memory of the GPU, where they fit: batches are then put together on the GPU.

Shapes: C channels, h w pixels of one canvas.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from dinocli.data.store import Packed, Store

SHARE = 4
"""A quarter of the free memory of the GPU at most: the training itself needs the rest."""


def resident_on(device: torch.device, store: Store) -> "Resident | None":
    """Return the canvases on a GPU, if there is room to keep them all; a CPU has them already.

    A store is copied once: whoever asks again gets the same copy.
    """
    if device.type != "cuda" or not isinstance(store, Packed):
        return None
    kept = store.copies.get(device)
    if kept is None and store.nbytes <= free_bytes(device) // SHARE:
        kept = store.copies[device] = Resident(store, device)
    return kept if isinstance(kept, Resident) else None


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU, with what torch keeps for itself though no tensor holds it."""
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + idle


class Resident:
    """A packed store, copied to a device once.

    Args:
        store: Store of kind ``memory`` or ``disk``.
        device: Where to.
    """

    def __init__(self, store: Packed, device: torch.device) -> None:
        self._place, self._channels = store.place, store.channels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns of read-only arrays; this one is only copied
            self._flat = torch.from_numpy(store.flat()).to(device, copy=True)

    def canvas(self, i: int, window: int) -> Tensor:
        """Return one canvas, (C, h, w): a view, not a copy."""
        start, height, width = self._place(i, window)
        size = self._channels * height * width
        return self._flat[start : start + size].view(self._channels, height, width)

    def collate(self, canvases: Sequence[Tensor]) -> Tensor:
        """Put canvases of `canvas` into one batch, zeros below and to the right of the smaller ones.

        Where all images of a folder have one size this is a single kernel, else one an image.

        Returns:
            (B, C, H, W), of the store's dtype.
        """
        height, width = (max(canvas.shape[axis] for canvas in canvases) for axis in (1, 2))
        size = self._channels * height * width
        starts = [canvas.storage_offset() for canvas in canvases]
        if all(canvas.numel() == size for canvas in canvases) and not any(start % size for start in starts):
            whole = self._flat[: len(self._flat) // size * size].view(-1, size)
            deep = whole.dtype == torch.uint16  # of which a GPU knows little more than how to copy it
            rows = torch.tensor([start // size for start in starts])
            if self._flat.device.type == "cuda":
                rows = rows.pin_memory().to(self._flat.device, non_blocking=True)
            batch = (whole.view(torch.int16) if deep else whole).index_select(0, rows.to(self._flat.device))
            return batch.view(whole.dtype).view(-1, self._channels, height, width)
        batch = torch.zeros(
            len(canvases), self._channels, height, width, dtype=self._flat.dtype, device=self._flat.device
        )
        for place, canvas in enumerate(canvases):
            batch[place, :, : canvas.shape[1], : canvas.shape[2]] = canvas
        return batch
