"""Cache of decoded images: the first epoch decodes all canvases; later epochs and runs copy them.

Guarantees: order and content do not depend on the number of threads; files are written atomically; a killed run leaves
at most one temporary file, which a later run removes; canvases damaged on the disk are decoded again. Cost: a change of
any image, of the range or of the short side decodes all images again.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dinocli.data.bad_images import BadLimit, bad_limit
from dinocli.data.canvas import Canvas
from dinocli.data.image_list import ImageList
from dinocli.data.memory_budget import cache_limit, disk_budget, memory_budget
from dinocli.data.packfile import SUFFIX, append_index, checksum, open_file, remove_old
from dinocli.data.parallel import in_order, thread_count
from dinocli.data.read import Reader
from dinocli.data.store import Index, Packed, Store, Stream
from dinocli.errors import DataError
from dinocli.files import atomic_file, home_folder

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with the number of finished images and the total."""

Unreadable = list[tuple[int, str]]
"""Row in the image list and reason of each unreadable image."""

_MODEL_SETTINGS = ("mean", "std", "size", "interpolation")  # preprocessing that canvases do not depend on
_SIZE_SAMPLE = 32  # images decoded to estimate the size of all canvases
_SIZE_MARGIN = 1.1  # factor on the estimate

# Disk full, over quota, read-only, no permission, no folder.
_UNWRITABLE_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST),
}


class _CacheFull(Exception):
    """The canvases do not fit: the estimated size was too small."""


@dataclass(frozen=True)
class Decoder:
    """Decodes the canvases of a dataset in order, by several threads.

    Args:
        images: The dataset.
        reader: Reader of the dataset.
        workers: Decoding threads; 0 decodes in the calling thread.
        max_bad: Maximum number of unreadable images, as a percentage (``10%``) or a number (``25``). The bad names of
            `find_images` count too.
        progress: See `Progress`.
    """

    images: ImageList
    reader: Reader
    workers: int | Literal["auto"]
    max_bad: str
    progress: Progress | None = None

    @property
    def limit(self) -> BadLimit:
        """Limit on unreadable images; `UsageError` for an invalid `max_bad`."""
        return bad_limit(self.max_bad, len(self.images) + len(self.images.bad))

    def canvases(self, row: int) -> list[Canvas] | str:
        """Return the canvases of an image, or the reason why it is unreadable."""
        try:
            return self.reader.canvases(self.images.path(row))
        except DataError as error:
            return str(error)

    def count(self, row: int) -> int | str:
        """Return the number of canvases of an image from its header, or the reason why it is unreadable."""
        try:
            return self.reader.count(self.images.path(row))
        except DataError as error:
            return str(error)

    def bad(self, unreadable: Unreadable) -> list[tuple[str, str]]:
        """Return (name, reason) of all bad images: those of the image list and the unreadable ones."""
        return [*self.images.bad, *((self.images.names[row], reason) for row, reason in unreadable)]

    def readable(self, read: Callable[[int], T | str], unreadable: Unreadable) -> Iterator[tuple[int, T]]:
        """Yield (row, result) of each readable image, and add (row, reason) of the others to ``unreadable``.

        Raises:
            DataError: There are more bad images than `limit`.
        """
        limit = self.limit
        for row, result in enumerate(in_order(read, range(len(self.images)), thread_count(self.workers))):
            if isinstance(result, str):
                unreadable.append((row, result))
                limit.check(self.bad(unreadable))
            else:
                yield row, result
            if self.progress is not None:
                self.progress(row + 1, len(self.images))

    def fill(self, add: Callable[[Canvas], int]) -> tuple[Index, Unreadable]:
        """Decode all images and pass each canvas to ``add``, which returns its offset."""
        starts, rows, places = [0], [], []
        unreadable: Unreadable = []
        for row, canvases in self.readable(self.canvases, unreadable):
            places += [(add(canvas), *canvas.shape[1:]) for canvas in canvases]
            starts.append(len(places))
            rows.append(row)
        index = Index(np.array(starts), np.array(places, np.int64).reshape(-1, 3), np.array(rows, np.int64))
        return index, unreadable

    def stream(self) -> Stream:
        """Read all headers: they give the number of windows, and show most unreadable images without decoding."""
        unreadable: Unreadable = []
        counts = list(self.readable(self.count, unreadable))
        threads = thread_count(self.workers)
        return Stream(self.reader, self.images, self.bad(unreadable), counts, self.limit, threads)

    def estimated_bytes(self) -> int:
        """Estimate the size of all canvases from 32 images, evenly spread over the list."""
        rows = np.linspace(0, len(self.images) - 1, min(_SIZE_SAMPLE, len(self.images))).astype(int).tolist()
        sizes = [
            sum(canvas.nbytes for canvas in canvases)
            for row in rows
            if not isinstance(canvases := self.canvases(row), str)
        ]
        return int(np.mean(sizes) * len(self.images) * _SIZE_MARGIN) if sizes else 0

    def key(self) -> str:
        """Return a hash of what the canvases depend on; models that differ in mean, std or size share a file."""
        settings = {key: value for key, value in self.reader.preprocess.to_dict().items() if key not in _MODEL_SETTINGS}
        return hashlib.sha256(f"{self.images.digest()} {settings} {self.reader.short_side}".encode()).hexdigest()[:32]


def open_store(decoder: Decoder, *, cache: str, shared: bool, folder: Path) -> Store:
    """Decode the images into a store, or open the store that an earlier run has written.

    An existing file of the same images and settings is always used. Otherwise canvases go to memory if they fit into
    half of the free memory, else to a file if they fit into half of the free disk, else they are decoded on demand.

    Args:
        decoder: Decoder of the dataset.
        cache: ``auto``, ``off`` (decode on demand), or the maximum size of the canvases (``8G``).
        shared: Several processes will open the store: write a file, not memory. Open the store in one process first;
            the others then find the file.
        folder: Cache folder.

    Raises:
        UsageError: Invalid ``cache`` or ``max_bad``.
        DataError: Too many images, or all, are unreadable.
    """
    cap = cache_limit(cache)
    limit = decoder.limit
    if cache == "off":
        return decoder.stream()
    file = folder / (decoder.key() + SUFFIX)
    if (store := open_file(file, decoder.reader, decoder.images)) is not None:
        limit.check(store.bad)
        return store
    needed = decoder.estimated_bytes()
    memory, disk = (free if cap is None else min(free, cap) for free in (memory_budget(), disk_budget(folder)))
    try:
        if needed <= memory and not shared:
            return _in_memory(decoder, memory)
        if needed <= disk:
            return _on_disk(decoder, file, disk)
    except (_CacheFull, MemoryError):
        pass  # the estimate was wrong; streaming always works
    return decoder.stream()


def _in_memory(decoder: Decoder, budget: int) -> Packed:
    # Reserving the whole budget costs nothing: the system allocates pages at the first write. The rest is cut off.
    buffer: NDArray[np.uint8] = np.empty(budget, np.uint8)
    used = 0

    def add(canvas: Canvas) -> int:
        nonlocal used
        start, used = used, used + canvas.nbytes
        if used > budget:
            raise _CacheFull
        buffer[start:used] = canvas.reshape(-1).view(np.uint8)
        return start

    index, unreadable = decoder.fill(add)
    buffer.resize(used, refcheck=False)
    names = [decoder.images.names[row] for row in index.rows_N.tolist()]
    return Packed(decoder.reader, names, decoder.bad(unreadable), buffer, index, "memory")


def _on_disk(decoder: Decoder, path: Path, budget: int) -> Packed:
    used, sums = 0, []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:

            def add(canvas: Canvas) -> int:
                nonlocal used
                start, used = used, used + canvas.nbytes
                if used > budget:
                    raise _CacheFull
                file.write(canvas.data)
                sums.append(checksum(canvas))
                return start

            index, unreadable = decoder.fill(add)
            append_index(file, index, sums, unreadable)
    except OSError as error:
        if error.errno in _UNWRITABLE_ERRORS:
            raise _CacheFull from error
        raise
    remove_old(path.parent)
    store = open_file(path, decoder.reader, decoder.images)
    assert store is not None
    return store


def cache_folder() -> Path:
    """Return the folder of decoded images: `dinocli/canvases` in XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache"
    return Path(base) / "dinocli" / "canvases"
