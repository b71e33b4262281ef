"""Batches of canvases: what is in step s is a function of (seed, s) alone.

Neither history, rank nor thread enters, so a resumed run sees what an uninterrupted one would have seen, and two
processes of half a batch see what one process of a whole batch sees. Nothing random happens to pixels here.

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
from dinocli.data.parallel import in_order
from dinocli.data.read import Canvas
from dinocli.data.resident import resident_on
from dinocli.data.store import Store
from dinocli.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Canvases of one slice of a step.

    Args:
        pixels_BCHW: uint8 or uint16 on the loader's device; zeros below and to the right of the smaller ones.
        sizes_B2: int64, true height and width, on the CPU.
        start: Place of the first one in the global batch; of `Loader.batches`, in the asked images.
        rows: Number of each one in the store.
    """

    pixels_BCHW: Tensor
    sizes_B2: Tensor
    start: int
    rows: list[int]


def sample_order(n: int, seed: int, position: int) -> tuple[int, int]:
    """Return (image, epoch) at one place of the endless stream of samples.

    Each epoch is a permutation of its own; epochs follow each other without a gap, also inside a batch, so a folder
    smaller than a batch needs no rule of its own.

    Args:
        n: Images.
        seed: Random seed of the run.
        position: Samples before this one since the start of the run.
    """
    epoch, place = divmod(position, n)
    return int(_permutation(n, seed, epoch)[place]), epoch


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(n)


class Loader:
    """Cuts the stream of samples into steps, and a step into this process's slices.

    Args:
        store: Canvases.
        batch_size: Images of a step over all processes.
        seed: Random seed of the order.
        rank: Rank of this process; it gets the rank-th contiguous part of each step.
        world: Number of processes.
        slices: Parts of this process's part, for gradient accumulation.
        device: Where the batches go. What fits a quarter of a GPU's free memory is copied there once and for all;
            otherwise batches go by way of page-locked memory, so that the copy does not wait.

    Raises:
        UsageError: The batch cannot be cut evenly.
    """

    def __init__(
        self,
        store: Store,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        slices: int = 1,
    ) -> None:
        if batch_size % (world * slices):
            raise UsageError(
                f"a batch of {batch_size} cannot be cut into {world} processes x {slices} slices; "
                f"use a multiple of {world * slices}"
            )
        self.store = store
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self._resident = resident_on(device, store)
        self.rank, self.slices = rank, slices
        self.slice_size = batch_size // (world * slices)

    def steps(self, first: int, last: int) -> Generator[list[Batch], None, None]:
        """Yield the slices of steps first to last - 1; the next step is made while the caller works on this one.

        The strips of a dataset show another window each epoch. A file that turns out to be broken while streaming is
        replaced by the next readable image.
        """
        return _ahead(self._step(step) for step in range(first, last))

    def batches(self, images: Sequence[int], batch_size: int) -> Generator[Batch, None, None]:
        """Yield the given images in order, the middle window of a strip; for looking, not for learning.

        An image that turns out to be broken while streaming is missing: see `Batch.rows`.
        """
        starts = range(0, len(images), batch_size)
        looks = (self._look(images[start : start + batch_size], start) for start in starts)
        return _ahead(batch for batch in looks if batch.rows)

    def _step(self, step: int) -> list[Batch]:
        own = self.slice_size * self.slices
        start = self.rank * own
        positions = range(step * self.batch_size + start, step * self.batch_size + start + own)
        picks = [sample_order(len(self.store), self.seed, position) for position in positions]
        found = list(in_order(self._readable, picks, self.store.threads))
        cuts = range(0, own, self.slice_size)
        return [self._batch(found[cut : cut + self.slice_size], start + cut) for cut in cuts]

    def _canvas(self, image: int, window: int) -> Canvas | Tensor:
        return self._resident.canvas(image, window) if self._resident else self.store.canvas(image, window)

    def _readable(self, pick: tuple[int, int]) -> tuple[int, Canvas | Tensor]:
        image, epoch = pick
        while True:  # ends: the store raises another error when too many, or all, are unreadable
            try:
                return image, self._canvas(image, epoch % self.store.windows(image))
            except UnreadableImage:
                image = (image + 1) % len(self.store)

    def _look(self, images: Sequence[int], start: int) -> Batch:
        found = [pair for pair in in_order(self._middle, images, self.store.threads) if pair is not None]
        return self._batch(found, start)

    def _middle(self, image: int) -> tuple[int, Canvas | Tensor] | None:
        try:
            return image, self._canvas(image, self.store.windows(image) // 2)
        except UnreadableImage:
            return None

    def _batch(self, found: list[tuple[int, Canvas | Tensor]], start: int) -> Batch:
        sizes = [tuple(canvas.shape[1:]) for _, canvas in found]
        height, width = max((h for h, _ in sizes), default=0), max((w for _, w in sizes), default=0)
        shape = (len(found), self.store.channels, height, width)
        if self._resident:
            pixels = self._resident.collate([canvas for _, canvas in found if isinstance(canvas, Tensor)])
        else:
            # By numpy, not torch: one parallel call in this thread makes OpenMP see more threads than cores, and from
            # then on it puts torch's to sleep between calls. Views on a CPU took twice as long.
            into: Any = np.zeros(shape, self.store.dtype)
            pixels = torch.from_numpy(into)
            if self.device.type == "cuda":
                pixels = pixels.pin_memory()
                into = pixels.numpy()
            for place, (_, canvas) in enumerate(found):
                into[place, :, : canvas.shape[1], : canvas.shape[2]] = canvas
        sizes_B2 = torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)
        return Batch(pixels.to(self.device, non_blocking=True), sizes_B2, start, [image for image, _ in found])


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    pass


def _ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Make the next items in a thread, one waiting and one in work; errors are raised here, in their turn.

    The thread ends with this iterator, also when the caller leaves early: the one free place in the queue, after it was
    emptied, lets the thread finish its last item and see that it should stop.
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
