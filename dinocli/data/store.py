"""Where canvases come from during a run: packed once into one buffer, or decoded again each time."""

import mmap
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.data.bad_images import BadLimit, UnreadableImage
from dinocli.data.read import Canvas, Reader
from dinocli.data.sources import ImageList
from dinocli.errors import DataError

Kind = Literal["memory", "disk", "stream"]


class Store(ABC):
    """Canvases by number: 0 to len - 1, in the order of the sorted names.

    Args:
        names: Names of the readable images.
        bad: Names that were left out, with the reason.
        kind: ``memory``, ``disk`` or ``stream``.
        dtype: Number type of all canvases.
        channels: Number of channels of all canvases.
        nbytes: Size of all canvases together; 0 when streaming.
        threads: For callers that fetch several canvases at once; 0 where fetching is only a copy.
    """

    names: list[str]
    bad: list[tuple[str, str]]
    kind: Kind
    dtype: np.dtype[Any]
    channels: int
    nbytes: int
    threads: int

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def windows(self, i: int) -> int:
        """Return the number of canvases of image ``i``: 1, or more for a strip."""

    @abstractmethod
    def canvas(self, i: int, window: int) -> Canvas:
        """Return one canvas, (C, h, w), read-only; `UnreadableImage` if the file turns out to be broken (streaming)."""


@dataclass(frozen=True)
class Index:
    """Where the canvases of a packed store lie.

    Args:
        starts_N1: Image i has the canvases starts[i] to starts[i + 1] - 1.
        places_M3: For each each canvas its offset in bytes, height and width.
        rows_N: For each each image its row in the list that was packed; unreadable ones are left out.
    """

    starts_N1: NDArray[np.int64]
    places_M3: NDArray[np.int64]
    rows_N: NDArray[np.int64]


class Packed(Store):
    """Canvases in one flat buffer, in memory or mapped from a file; a canvas is a slice of it."""

    def __init__(
        self,
        reader: Reader,
        names: list[str],
        bad: list[tuple[str, str]],
        buffer: NDArray[np.uint8] | mmap.mmap,
        index: Index,
        kind: Kind,
    ) -> None:
        self.names, self.bad, self.kind = names, bad, kind
        self.dtype, self.channels = canvas_dtype(reader), reader.preprocess.canvas_channels
        self.threads = 0
        self.copies: dict[object, object] = {}  # on devices, by device: see `dinocli.data.resident`
        self._buffer, self._index = buffer, index
        areas = index.places_M3[:, 1] * index.places_M3[:, 2]
        self.nbytes = int(areas.sum()) * self.channels * self.dtype.itemsize

    def windows(self, i: int) -> int:
        return int(self._index.starts_N1[i + 1] - self._index.starts_N1[i])

    def canvas(self, i: int, window: int) -> Canvas:
        start, height, width = self.place(i, window)
        return self._everything()[start : start + self.channels * height * width].reshape(self.channels, height, width)

    def place(self, i: int, window: int) -> tuple[int, int, int]:
        """Return where a canvas begins in `flat`, in pixels of one channel, and its height and width."""
        offset, height, width = self._index.places_M3[self.number(i, window)].tolist()
        return offset // self.dtype.itemsize, height, width

    def number(self, i: int, window: int) -> int:
        """Return the place of a canvas among all, counted from 0."""
        return int(self._index.starts_N1[i]) + window

    def flat(self) -> Canvas:
        """Return all canvases behind each other, read-only."""
        return self._everything()

    def _everything(self) -> Canvas:
        everything = np.frombuffer(self._buffer, self.dtype, self.nbytes // self.dtype.itemsize)
        everything.flags.writeable = False
        return everything


class Stream(Store):
    """Decodes on demand: no memory, no disk, the price of a decode for every look at an image."""

    def __init__(
        self,
        reader: Reader,
        images: ImageList,
        bad: list[tuple[str, str]],
        counts: list[tuple[int, int]],
        limit: BadLimit,
        threads: int,
    ) -> None:
        self.names = [images.names[row] for row, _ in counts]
        self.bad, self.kind, self.nbytes, self.threads = bad, "stream", 0, threads
        self.dtype, self.channels = canvas_dtype(reader), reader.preprocess.canvas_channels
        self._reader, self._images, self._counts, self._limit = reader, images, counts, limit

    def windows(self, i: int) -> int:
        return self._counts[i][1]

    def canvas(self, i: int, window: int) -> Canvas:
        try:
            return self._reader.canvases(self._images.path(self._counts[i][0]))[window]
        except DataError as error:
            found = (self.names[i], str(error))
            if found not in self.bad:
                self.bad.append(found)
            self._limit.check(self.bad)
            raise UnreadableImage(f"{found[0]}: {found[1]}") from error


def canvas_dtype(reader: Reader) -> np.dtype[Any]:
    """Return the dtype of a reader's canvases."""
    return np.dtype(np.uint16 if reader.preprocess.deep else np.uint8)
