"""Stores of canvases: packed into one buffer, or decoded on demand."""

import mmap
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.data.bad_images import BadLimit, UnreadableImage
from dinocli.data.canvas import Canvas
from dinocli.data.image_list import ImageList
from dinocli.data.read import Reader
from dinocli.errors import DataError

Kind = Literal["memory", "disk", "stream"]


class Store(ABC):
    """Canvases by image index: 0 to len - 1, in the order of the sorted names.

    Args:
        names: Names of the readable images.
        bad: (name, reason) of the unreadable images.
        kind: ``memory``, ``disk`` or ``stream``.
        dtype: uint8 or uint16.
        channels: Number of channels.
        nbytes: Total size of all canvases; 0 when streaming.
        threads: Threads that callers should use to fetch several canvases; 0 if fetching is only a copy.
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
        """Return one canvas, (C, h, w), read-only; `UnreadableImage` if decoding fails while streaming."""


@dataclass(frozen=True)
class Index:
    """Positions of the M canvases of N images in a packed store.

    Args:
        starts_N1: Image i has the canvases starts[i] to starts[i + 1] - 1; N + 1 entries.
        places_M3: Offset in bytes, height and width of each canvas.
        rows_N: Row of each image in the packed image list; unreadable images are left out.
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
        self.copies: dict[object, object] = {}  # copies by device: see `dinocli.data.resident`
        self._buffer, self._index = buffer, index
        areas = index.places_M3[:, 1] * index.places_M3[:, 2]
        self.nbytes = int(areas.sum()) * self.channels * self.dtype.itemsize

    def windows(self, i: int) -> int:
        return int(self._index.starts_N1[i + 1] - self._index.starts_N1[i])

    def canvas(self, i: int, window: int) -> Canvas:
        start, height, width = self.place(i, window)
        return self._array()[start : start + self.channels * height * width].reshape(self.channels, height, width)

    def place(self, i: int, window: int) -> tuple[int, int, int]:
        """Return the index of a canvas's first sample in `flat`, and its height and width."""
        offset, height, width = self._index.places_M3[self.number(i, window)].tolist()
        return offset // self.dtype.itemsize, height, width

    def number(self, i: int, window: int) -> int:
        """Return the index of a canvas among all M."""
        return int(self._index.starts_N1[i]) + window

    def flat(self) -> Canvas:
        """Return all canvases as one read-only 1-D array."""
        return self._array()

    def _array(self) -> Canvas:
        array = np.frombuffer(self._buffer, self.dtype, self.nbytes // self.dtype.itemsize)
        array.flags.writeable = False
        return array


class Stream(Store):
    """Decodes each canvas on demand; needs no memory and no disk, but decodes an image at every access."""

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
            name, reason = self.names[i], str(error)
            if (name, reason) not in self.bad:
                self.bad.append((name, reason))
            self._limit.check(self.bad)
            raise UnreadableImage(f"{name}: {reason}") from error


def canvas_dtype(reader: Reader) -> np.dtype[Any]:
    """Return the dtype of a reader's canvases."""
    return np.dtype(np.uint16 if reader.preprocess.deep else np.uint8)
