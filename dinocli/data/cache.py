"""Decode once: the first pass packs all canvases; every later epoch, and the next run, only copy them.

Guarantees: order and content do not depend on the number of threads; a file is complete or not there; a run that is
killed leaves one temporary file at most, which a later one removes; what was damaged on the disk is decoded anew. The
price: a change of any image, of the range or of the short side decodes everything anew.
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
"""Called with images done and images in all."""

_OF_THE_MODEL = ("mean", "std", "size", "interpolation")  # preprocessing that canvases do not depend on
_PROBES = 32  # images decoded to guess the size of all
_MARGIN = 1.1  # on that guess

# Full, over quota, read-only, not ours, no folder: all mean that the canvases cannot be kept there.
_UNWRITABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST),
}


class _CacheFull(Exception):
    """The guess was too small: the canvases do not fit."""


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
    """Decode the images into a store, or find what an earlier run has decoded.

    A packed file of the same images and settings is used wherever there is one. Else memory is taken if all fits into
    half of what is free, else a file if that fits into half of the free disk, else the store streams.

    Args:
        images: The dataset.
        reader: How to read it.
        cache: ``auto``, ``off`` (stream), or the most bytes to keep (``8G``).
        workers: Threads that decode; 0 decodes in the caller's.
        max_bad: Unreadable images that are accepted, as a share (``10%``) or a number (``25``). Names that
            `find_images` set aside count too.
        shared: Several processes will open it: not in memory but in a file. Open it in one first; the others then
            find the file.
        folder: Folder of packed files.
        progress: See `Progress`.

    Raises:
        UsageError: A ``cache`` or ``max_bad`` that makes no sense.
        DataError: Too many images are unreadable, or all.
    """
    cap = None if cache in ("auto", "off") else parse_bytes(cache)
    limit = bad_limit(max_bad, len(images) + len(images.bad))
    threads = thread_count(workers)
    if cache == "off":
        return _stream(images, reader, threads, limit, progress)
    file = folder / (_key(images, reader) + SUFFIX)
    if (found := open_file(file, reader, images)) is not None:
        limit.check(found.bad)
        return found
    need = _estimated_bytes(images, reader)
    fill = partial(_fill, images, reader, threads, limit, progress)
    memory, disk = (room if cap is None else min(room, cap) for room in (memory_budget(), disk_budget(folder)))
    try:
        if need <= memory and not shared:
            return _in_memory(images, reader, memory, fill)
        if need <= disk:
            return _on_disk(images, reader, file, disk, fill)
    except (_CacheFull, MemoryError):
        pass  # the guess was wrong; streaming always works
    return _stream(images, reader, threads, limit, progress)


def _key(images: ImageList, reader: Reader) -> str:
    """Name what the canvases depend on, and nothing else: models with another mean or size share a file."""
    settings = {key: value for key, value in reader.preprocess.to_dict().items() if key not in _OF_THE_MODEL}
    return hashlib.sha256(f"{images.digest()} {settings} {reader.short_side}".encode()).hexdigest()[:32]


def _estimated_bytes(images: ImageList, reader: Reader) -> int:
    """Guess the bytes of all canvases from a few, evenly spread over the list."""
    rows = np.linspace(0, len(images) - 1, min(_PROBES, len(images))).astype(int).tolist()
    sizes = [
        sum(canvas.nbytes for canvas in found)
        for row in rows
        if not isinstance(found := _read(images, reader, row), str)
    ]
    return int(np.mean(sizes) * len(images) * _MARGIN) if sizes else 0


def _read(images: ImageList, reader: Reader, row: int) -> list[Canvas] | str:
    """Return canvases, or why there are none."""
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
    """Decode all images and hand each canvas to ``add``, which returns its offset."""
    starts, rows, places = [0], [], []
    unreadable: list[tuple[int, str]] = []
    for row, found in enumerate(in_order(partial(_read, images, reader), range(len(images)), threads)):
        if isinstance(found, str):
            unreadable.append((row, found))
            limit.check([*images.bad, *((images.names[bad], reason) for bad, reason in unreadable)])
        else:
            places += [(add(canvas), *canvas.shape[1:]) for canvas in found]
            starts.append(len(places))
            rows.append(row)
        if progress is not None:
            progress(row + 1, len(images))
    index = Index(np.array(starts), np.array(places, np.int64).reshape(-1, 3), np.array(rows, np.int64))
    return index, unreadable


_Fill = Callable[[Callable[[Canvas], int]], tuple[Index, list[tuple[int, str]]]]


def _in_memory(images: ImageList, reader: Reader, room: int, fill: _Fill) -> Packed:
    # Reserving costs nothing: the system hands out pages when they are first written. What stays unused is cut off.
    buffer: NDArray[np.uint8] = np.empty(room, np.uint8)
    used = 0

    def add(canvas: Canvas) -> int:
        nonlocal used
        start, used = used, used + canvas.nbytes
        if used > room:
            raise _CacheFull
        buffer[start:used] = canvas.reshape(-1).view(np.uint8)
        return start

    index, unreadable = fill(add)
    buffer.resize(used, refcheck=False)
    return Packed(reader, *_names(images, index, unreadable), buffer, index, "memory")


def _on_disk(images: ImageList, reader: Reader, path: Path, room: int, fill: _Fill) -> Packed:
    used, sums = 0, []
    try:
        with new_file(path) as file:

            def add(canvas: Canvas) -> int:
                nonlocal used
                start, used = used, used + canvas.nbytes
                if used > room:
                    raise _CacheFull
                file.write(canvas.data)
                sums.append(checksum(canvas))
                return start

            index, unreadable = fill(add)
            append_index(file, index, sums, unreadable)
    except OSError as error:
        if error.errno in _UNWRITABLE:
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
    """Look at all headers: that tells the windows, and finds most of what is unreadable without decoding."""
    counts: list[tuple[int, int]] = []
    bad = list(images.bad)
    for row, found in enumerate(in_order(partial(_count, images, reader), range(len(images)), threads)):
        if isinstance(found, str):
            bad.append((images.names[row], found))
            limit.check(bad)
        else:
            counts.append((row, found))
        if progress is not None:
            progress(row + 1, len(images))
    return Stream(reader, images, bad, counts, limit, threads)


def _count(images: ImageList, reader: Reader, row: int) -> int | str:
    try:
        return reader.count(images.path(row))
    except DataError as error:
        return str(error)


def cache_folder() -> Path:
    """Return where decoded images are kept for later runs."""
    base = os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache"
    return Path(base) / "dinocli" / "canvases"
