"""Batches of canvases; the content of step s depends on (seed, s) alone.

It does not depend on earlier steps, rank or threads: a resumed run sees the same batches as an uninterrupted one, two
processes with half a batch each see those of one process. Augmentation happens elsewhere.

Shape suffixes: B images of one batch, C channels, H W pixels of the largest canvas in it.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from queue import Queue
from threading import Event, Thread
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinocli.data.bad_images import UnreadableImage
from dinocli.data.canvas import Canvas
from dinocli.data.parallel import in_order
from dinocli.data.resident import resident_on
from dinocli.data.store import Store
from dinocli.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Canvases of one gradient-accumulation slice of a step.

    Args:
        pixels_BCHW: uint8 or uint16, on the loader's device; padded with zeros at the bottom and right.
        sizes_B2: int64, height and width without padding, on the CPU.
        start: Index of the first canvas in the global batch; of `Loader.batches`, in its `images`.
        rows: Index of each image in the store.
    """

    pixels_BCHW: Tensor
    sizes_B2: Tensor
    start: int
    rows: list[int]


def sample_order(n: int, seed: int, position: int) -> tuple[int, int]:
    """Return (image, epoch) at a position of the infinite stream of samples.

    Each epoch is another permutation. Epochs follow each other without a gap, also within a batch, so a dataset smaller
    than a batch is not a special case.

    Args:
        n: Number of images.
        seed: Random seed of the run.
        position: Number of samples since the start of the run.
    """
    epoch, index = divmod(position, n)
    return int(_permutation(n, seed, epoch)[index]), epoch


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(n)


class Loader:
    """Divides the stream of samples into steps, and each step into the slices of this process.

    Args:
        store: Canvases of the dataset.
        batch_size: Images per step over all processes.
        seed: Random seed of the order.
        rank: Rank of this process; it gets the rank-th contiguous part of each step.
        world_size: Number of processes.
        slices: Gradient-accumulation slices per process.
        device: Device of the batches. A dataset that fits into a quarter of a GPU's free memory is copied there once;
            otherwise batches are copied from page-locked memory without blocking.

    Raises:
        UsageError: The batch cannot be divided evenly.
    """

    def __init__(
        self,
        store: Store,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        slices: int = 1,
    ) -> None:
        if batch_size % (world_size * slices):
            raise UsageError(
                f"a batch of {batch_size} cannot be cut into {world_size} processes x {slices} slices; "
                f"use a multiple of {world_size * slices}"
            )
        self.store = store
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self._resident = resident_on(device, store)
        self.rank, self.slices = rank, slices
        self.slice_size = batch_size // (world_size * slices)

    def steps(self, first: int, last: int) -> Generator[list[Batch], None, None]:
        """Yield the slices of steps first to last - 1; the next step is prefetched.

        A strip shows another window each epoch. A file that fails to decode while streaming is replaced by the next
        readable image.
        """
        return _prefetched(self._step(step) for step in range(first, last))

    def batches(self, images: Sequence[int], batch_size: int) -> Generator[Batch, None, None]:
        """Yield the given images in order, of a strip its middle window; for evaluation, not for training.

        An image that fails to decode while streaming is left out: see `Batch.rows`.
        """
        starts = range(0, len(images), batch_size)
        batches = (self._middle_windows(images[start : start + batch_size], start) for start in starts)
        return _prefetched(batch for batch in batches if batch.rows)

    def _step(self, step: int) -> list[Batch]:
        count = self.slice_size * self.slices
        start = self.rank * count
        positions = range(step * self.batch_size + start, step * self.batch_size + start + count)
        samples = [sample_order(len(self.store), self.seed, position) for position in positions]
        canvases = list(in_order(self._readable, samples, self.store.threads))
        offsets = range(0, count, self.slice_size)
        return [self._batch(canvases[offset : offset + self.slice_size], start + offset) for offset in offsets]

    def _canvas(self, image: int, window: int) -> Canvas | Tensor:
        return self._resident.canvas(image, window) if self._resident else self.store.canvas(image, window)

    def _readable(self, sample: tuple[int, int]) -> tuple[int, Canvas | Tensor]:
        image, epoch = sample
        while True:  # terminates: the store raises `DataError` when too many, or all, images are unreadable
            try:
                return image, self._canvas(image, epoch % self.store.windows(image))
            except UnreadableImage:
                image = (image + 1) % len(self.store)

    def _middle_windows(self, images: Sequence[int], start: int) -> Batch:
        canvases = [pair for pair in in_order(self._middle_window, images, self.store.threads) if pair is not None]
        return self._batch(canvases, start)

    def _middle_window(self, image: int) -> tuple[int, Canvas | Tensor] | None:
        try:
            return image, self._canvas(image, self.store.windows(image) // 2)
        except UnreadableImage:
            return None

    def _batch(self, canvases: list[tuple[int, Canvas | Tensor]], start: int) -> Batch:
        sizes = [tuple(canvas.shape[1:]) for _, canvas in canvases]
        height, width = max((h for h, _ in sizes), default=0), max((w for _, w in sizes), default=0)
        shape = (len(canvases), self.store.channels, height, width)
        if self._resident:
            pixels = self._resident.collate([canvas for _, canvas in canvases if isinstance(canvas, Tensor)])
        else:
            pixels = self._blank(shape)
            array: Any = pixels.numpy()
            for row, (_, canvas) in enumerate(canvases):
                array[row, :, : canvas.shape[1], : canvas.shape[2]] = canvas
        sizes_B2 = torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)
        return Batch(pixels.to(self.device, non_blocking=True), sizes_B2, start, [image for image, _ in canvases])

    def _blank(self, shape: tuple[int, ...]) -> Tensor:
        """Return zeros on the host, page-locked for a GPU: torch reuses the memory once the copy from it has ended."""
        if self.device.type == "cuda":
            dtype = torch.uint16 if self.store.dtype == np.uint16 else torch.uint8
            locked = torch.empty(shape, dtype=dtype, pin_memory=True)
            locked.numpy().fill(0)
            return locked
        # NumPy, not torch: one parallel torch call in this thread makes OpenMP see more threads than cores, and from
        # then on torch's threads sleep between calls. Augmentation on a CPU took twice as long.
        blank: Any = np.zeros(shape, self.store.dtype)
        return torch.from_numpy(blank)


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    pass


def _prefetched(items: Iterator[T]) -> Generator[T, None, None]:
    """Compute items ahead in a thread, one queued and one in progress; errors are raised in order.

    The thread ends with this iterator, also if the caller stops early: emptying the queue frees its one slot, so the
    thread can put its last item and see the stop event.
    """
    ready: Queue[T | _Failed | _End] = Queue(maxsize=1)
    stop = Event()

    def work() -> None:
        try:
            for item in items:
                ready.put(item)
                if stop.is_set():
                    return
            ready.put(_End())
        except BaseException as error:
            ready.put(_Failed(error))

    thread = Thread(target=work, name="dinocli-batches", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        while not ready.empty():
            ready.get_nowait()
        thread.join()
