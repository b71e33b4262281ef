"""Content of an image by its path: a file, an image in a tar shard, or a window of a raster."""

import os
import stat
from io import BytesIO

from dinocli.data.raster_windows import split_window
from dinocli.data.tar_shards import open_shard, read_member, split_member
from dinocli.errors import DataError

HEAD_BYTES = 132
"""First bytes of a file that are read to tell its format: as many as DICOM needs."""

Source = str | bytes
"""Path of a file, or content of an image in an archive."""


def image_source(path: str) -> Source:
    """Return the content of an image in an archive, the file of a window, or the path itself.

    Raises:
        DataError: The archive has no such image, or ends before it.
    """
    member = split_member(path)
    return read_member(*member) if member else split_window(path)[0]


def decoder_input(source: Source) -> str | BytesIO:
    """Return the argument for a decoder: the path, or the content as a file object."""
    return source if isinstance(source, str) else BytesIO(source)


def read_source(source: Source) -> bytes:
    """Return the bytes of an image file."""
    if isinstance(source, bytes):
        return source
    with open(source, "rb") as file:
        return file.read()


def read_head(source: Source) -> tuple[bytes, int]:
    """Return the first bytes of a file and its size in bytes."""
    if isinstance(source, bytes):
        if not source:
            raise DataError("the file is empty")
        return source[:HEAD_BYTES], len(source)
    file = os.open(source, os.O_RDONLY | os.O_NONBLOCK)  # opening a named pipe would wait for a writer
    try:
        status = os.fstat(file)
        if stat.S_ISFIFO(status.st_mode):
            raise DataError("a named pipe, not a file")
        head = os.read(file, HEAD_BYTES)
    finally:
        os.close(file)
    if not head:
        raise DataError("the file is empty")
    return head, status.st_size


def size_and_mtime(path: str) -> tuple[int, int]:
    """Return size in bytes and modification time in ns; for an image in an archive, the archive's time plus its offset.

    A window of a raster has those of the whole file.

    Raises:
        OSError: There is no such file.
    """
    if member := split_member(path):
        shard = open_shard(member[0])
        try:
            offset, size = shard.place(member[1])
        except KeyError:
            raise FileNotFoundError(2, "no such image in the archive", path) from None
        return size, shard.stamp[1] + offset
    status = os.stat(split_window(path)[0])
    return status.st_size, status.st_mtime_ns
