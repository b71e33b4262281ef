"""Whole files or none: the one way in which dinocli writes."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write it so that a reader sees the old one or the new one, never half of it.

    The bytes go to a neighbour in the same folder, to the disk, and then take the name. The price is one flush.

    Args:
        path: In a folder that exists; a file of that name is replaced when the block ends without an error.

    Raises:
        OSError: If the folder cannot be written or the disk is full; nothing is left behind.
    """
    # A name may be 255 bytes long, and its neighbour's no longer.
    start = os.fsdecode(os.fsencode(path.name)[:200])
    neighbour = path.with_name(f".{start}.{os.getpid()}")
    try:
        with neighbour.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    except BaseException:
        neighbour.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a whole file; text is UTF-8. Arguments and errors as `whole_file`."""
    with whole_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)
