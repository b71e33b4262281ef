"""Cache of decoded images: the first epoch decodes all canvases; later epochs and runs copy them.

Guarantees: order and content do not depend on the number of threads; files are written atomically; a killed run leaves
at most one temporary file, which a later run removes; canvases damaged on the disk are decoded again. Cost: a change of
any image, of the range or of the short side decodes all images again.
"""

import errno
import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.data.bad_images import BadLimit, bad_limit
from dinocli.data.memory_budget import disk_budget, memory_budget, parse_bytes
from dinocli.data.packfile import SUFFIX, append_index, checksum, new_file, open_file, remove_old
from dinocli.data.parallel import in_order, thread_count
from dinocli.data.read import Canvas, Reader
from dinocli.data.sources import ImageList
from dinocli.data.store import Index, Packed, Store, Stream
from dinocli.errors import DataError
from dinocli.files import home_folder

Progress = Callable[[int, int], None]
"""Called with the number of finished images and the total."""

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


def open_store(
    images: ImageList,
    reader: Reader,
    *,
    cache: str,
    workers: int | Literal["auto"],
    max_bad: str,
    shared: bool,
    folder: Path,
    progress: Progress | None = None,
) -> Store:
    """Decode the images into a store, or open the store that an earlier run has written.

    An existing file of the same images and settings is always used. Otherwise canvases go to memory if they fit into
    half of the free memory, else to a file if they fit into half of the free disk, else they are decoded on demand.

    Args:
        images: The dataset.
        reader: Reader of the dataset.
        cache: ``auto``, ``off`` (decode on demand), or the maximum size of the canvases (``8G``).
        workers: Decoding threads; 0 decodes in the calling thread.
        max_bad: Maximum number of unreadable images, as a percentage (``10%``) or a number (``25``). The bad names of
            `find_images` count too.
        shared: Several processes will open the store: write a file, not memory. Open the store in one process first;
            the others then find the file.
        folder: Cache folder.
        progress: See `Progress`.

    Raises:
        UsageError: Invalid ``cache`` or ``max_bad``.
        DataError: Too many images, or all, are unreadable.
    """
    cap = None if cache in ("auto", "off") else parse_bytes(cache)
    limit = bad_limit(max_bad, len(images) + len(images.bad))
    threads = thread_count(workers)
    if cache == "off":
        return _stream(images, reader, threads, limit, progress)
    file = folder / (_key(images, reader) + SUFFIX)
    if (store := open_file(file, reader, images)) is not None:
        limit.check(store.bad)
        return store
    needed = _estimated_bytes(images, reader)
    fill = partial(_fill, images, reader, threads, limit, progress)
    memory, disk = (free if cap is None else min(free, cap) for free in (memory_budget(), disk_budget(folder)))
    try:
        if needed <= memory and not shared:
            return _in_memory(images, reader, memory, fill)
        if needed <= disk:
            return _on_disk(images, reader, file, disk, fill)
    except (_CacheFull, MemoryError):
        pass  # the estimate was wrong; streaming always works
    return _stream(images, reader, threads, limit, progress)


def _key(images: ImageList, reader: Reader) -> str:
    """Return a hash of what the canvases depend on; models that differ in mean, std or size share a file."""
    settings = {key: value for key, value in reader.preprocess.to_dict().items() if key not in _MODEL_SETTINGS}
    return hashlib.sha256(f"{images.digest()} {settings} {reader.short_side}".encode()).hexdigest()[:32]


def _estimated_bytes(images: ImageList, reader: Reader) -> int:
    """Estimate the size of all canvases from 32 images, evenly spread over the list."""
    rows = np.linspace(0, len(images) - 1, min(_SIZE_SAMPLE, len(images))).astype(int).tolist()
    sizes = [
        sum(canvas.nbytes for canvas in canvases)
        for row in rows
        if not isinstance(canvases := _read(images, reader, row), str)
    ]
    return int(np.mean(sizes) * len(images) * _SIZE_MARGIN) if sizes else 0


def _read(images: ImageList, reader: Reader, row: int) -> list[Canvas] | str:
    """Return the canvases of an image, or the reason why it is unreadable."""
    try:
        return reader.canvases(images.path(row))
    except DataError as error:
        return str(error)


def _fill(
    images: ImageList,
    reader: Reader,
    threads: int,
    limit: BadLimit,
    progress: Progress | None,
    add: Callable[[Canvas], int],
) -> tuple[Index, list[tuple[int, str]]]:
    """Decode all images and pass each canvas to ``add``, which returns its offset."""
    starts, rows, places = [0], [], []
    unreadable: list[tuple[int, str]] = []
    for row, canvases in enumerate(in_order(partial(_read, images, reader), range(len(images)), threads)):
        if isinstance(canvases, str):
            unreadable.append((row, canvases))
            limit.check([*images.bad, *((images.names[bad], reason) for bad, reason in unreadable)])
        else:
            places += [(add(canvas), *canvas.shape[1:]) for canvas in canvases]
            starts.append(len(places))
            rows.append(row)
        if progress is not None:
            progress(row + 1, len(images))
    index = Index(np.array(starts), np.array(places, np.int64).reshape(-1, 3), np.array(rows, np.int64))
    return index, unreadable


_Fill = Callable[[Callable[[Canvas], int]], tuple[Index, list[tuple[int, str]]]]


def _in_memory(images: ImageList, reader: Reader, budget: int, fill: _Fill) -> Packed:
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

    index, unreadable = fill(add)
    buffer.resize(used, refcheck=False)
    return Packed(reader, *_names(images, index, unreadable), buffer, index, "memory")


def _on_disk(images: ImageList, reader: Reader, path: Path, budget: int, fill: _Fill) -> Packed:
    used, sums = 0, []
    try:
        with new_file(path) as file:

            def add(canvas: Canvas) -> int:
                nonlocal used
                start, used = used, used + canvas.nbytes
                if used > budget:
                    raise _CacheFull
                file.write(canvas.data)
                sums.append(checksum(canvas))
                return start

            index, unreadable = fill(add)
            append_index(file, index, sums, unreadable)
    except OSError as error:
        if error.errno in _UNWRITABLE_ERRORS:
            raise _CacheFull from error
        raise
    remove_old(path.parent)
    store = open_file(path, reader, images)
    assert store is not None
    return store


def _names(
    images: ImageList, index: Index, unreadable: list[tuple[int, str]]
) -> tuple[list[str], list[tuple[str, str]]]:
    bad = [*images.bad, *((images.names[row], reason) for row, reason in unreadable)]
    return [images.names[row] for row in index.rows_N.tolist()], bad


def _stream(images: ImageList, reader: Reader, threads: int, limit: BadLimit, progress: Progress | None) -> Stream:
    """Read all headers: they give the number of windows, and show most unreadable images without decoding."""
    counts: list[tuple[int, int]] = []
    bad = list(images.bad)
    for row, count in enumerate(in_order(partial(_count, images, reader), range(len(images)), threads)):
        if isinstance(count, str):
            bad.append((images.names[row], count))
            limit.check(bad)
        else:
            counts.append((row, count))
        if progress is not None:
            progress(row + 1, len(images))
    return Stream(reader, images, bad, counts, limit, threads)


def _count(images: ImageList, reader: Reader, row: int) -> int | str:
    try:
        return reader.count(images.path(row))
    except DataError as error:
        return str(error)


def cache_folder() -> Path:
    """Return the folder of decoded images: `dinocli/canvases` in XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache"
    return Path(base) / "dinocli" / "canvases"
