"""Dataset in GPU memory, if it fits; batches are then collated on the GPU.

Shapes: C channels, h w pixels of one canvas.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from dinocli.data.store import Packed, Store

_BUDGET_DIVISOR = 4  # a quarter of the free GPU memory: training needs the rest


def resident_on(device: torch.device, store: Store) -> "Resident | None":
    """Return the canvases of a packed store in GPU memory; None if they do not fit, or on a CPU.

    A store is copied once per device; later calls return the same copy.
    """
    if device.type != "cuda" or not isinstance(store, Packed):
        return None
    copy = store.copies.get(device)
    if copy is None and store.nbytes <= resident_budget(device):
        copy = store.copies[device] = Resident(store, device)
    return copy if isinstance(copy, Resident) else None


def resident_budget(device: torch.device) -> int:
    """Return the maximum size of a dataset in GPU memory, bytes: a quarter of the free memory."""
    return free_bytes(device) // _BUDGET_DIVISOR


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU, bytes, including unused blocks of torch's caching allocator."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


class Resident:
    """A packed store on a device.

    Args:
        store: Store of kind ``memory`` or ``disk``.
        device: Target device.
    """

    def __init__(self, store: Packed, device: torch.device) -> None:
        self._place, self._channels = store.place, store.channels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns about read-only arrays; this one is copied
            self._flat = torch.from_numpy(store.flat()).to(device, copy=True)

    def canvas(self, i: int, window: int) -> Tensor:
        """Return one canvas, (C, h, w): a view, not a copy."""
        start, height, width = self._place(i, window)
        size = self._channels * height * width
        return self._flat[start : start + size].view(self._channels, height, width)

    def collate(self, canvases: Sequence[Tensor]) -> Tensor:
        """Collate canvases into one batch, padded with zeros at the bottom and right.

        Launches one kernel if all canvases have the same size and alignment, else one per canvas.

        Args:
            canvases: Views from `canvas`.

        Returns:
            (B, C, H, W), dtype of the store.
        """
        height, width = (max(canvas.shape[axis] for canvas in canvases) for axis in (1, 2))
        size = self._channels * height * width
        starts = [canvas.storage_offset() for canvas in canvases]
        if all(canvas.numel() == size for canvas in canvases) and not any(start % size for start in starts):
            table = self._flat[: len(self._flat) // size * size].view(-1, size)
            is_uint16 = table.dtype == torch.uint16  # torch supports hardly any uint16 operation on a GPU
            rows = torch.tensor([start // size for start in starts])
            if self._flat.device.type == "cuda":
                rows = rows.pin_memory().to(self._flat.device, non_blocking=True)
            batch = (table.view(torch.int16) if is_uint16 else table).index_select(0, rows.to(self._flat.device))
            return batch.view(table.dtype).view(-1, self._channels, height, width)
        batch = torch.zeros(
            len(canvases), self._channels, height, width, dtype=self._flat.dtype, device=self._flat.device
        )
        for row, canvas in enumerate(canvases):
            batch[row, :, : canvas.shape[1], : canvas.shape[2]] = canvas
        return batch
