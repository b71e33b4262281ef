"""Whole files or none."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it.

    The bytes go to a neighbour in the same folder, to the disk, and then take the name. The price is one flush.

    Args:
        path: In a folder that exists; a file of that name is replaced.
        data: All of the content.

    Raises:
        OSError: If the folder cannot be written or the disk is full; nothing is left behind.
    """
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with neighbour.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    except BaseException:
        neighbour.unlink(missing_ok=True)
        raise
