"""The file of a packed store: canvases one after another, then the index, then the length of the index.

Written under a temporary name, flushed and renamed, so that a file under its final name is complete. Mapped read-only
when opened: its pages are shared between processes, and given back when memory is short.
"""

import io
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np

from dinocli.data.read import Reader
from dinocli.data.sources import ImageList
from dinocli.data.store import Index, Packed

SUFFIX = ".canvases"
_MAGIC = b"dinocli1"
_TAIL = 16  # bytes: length of the index, then the magic word
_KEEP = 4  # files of earlier data or settings; each can be as large as the data
_ABANDONED = 86_400  # seconds without a write, after which a temporary file belongs to nobody


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that gets its name when the block ends, or is removed when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def append_index(file: IO[bytes], index: Index, unreadable: list[tuple[int, str]]) -> None:
    """Finish a file of canvases; ``unreadable`` holds rows of the list, with the reason."""
    held = io.BytesIO()
    reasons = np.array([reason for _, reason in unreadable], dtype=np.str_)
    rows = np.array([row for row, _ in unreadable], dtype=np.int64)
    np.savez(
        held, starts=index.starts_N1, places=index.places_M3, rows=index.rows_N, bad_rows=rows, bad_reasons=reasons
    )
    file.write(held.getbuffer())
    file.write(len(held.getbuffer()).to_bytes(8, "little") + _MAGIC)


def open_file(path: Path, reader: Reader, images: ImageList) -> Packed | None:
    """Map a file that an earlier run, or another process, has written for the same images; None if it is not one."""
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # not there, not ours to read, or empty
        return None
    size = int.from_bytes(mapped[-_TAIL:-8], "little")
    if mapped[-8:] != _MAGIC or size > len(mapped) - _TAIL:
        return None
    with np.load(io.BytesIO(mapped[-_TAIL - size : -_TAIL])) as held:
        index = Index(held["starts"], held["places"], held["rows"])
        unreadable = zip(held["bad_rows"].tolist(), held["bad_reasons"].tolist(), strict=True)
    with suppress(OSError):  # a folder that others filled for us
        os.utime(path)  # the newest are kept
    bad = [*images.bad, *((images.names[row], reason) for row, reason in unreadable)]
    return Packed(reader, [images.names[row] for row in index.rows_N.tolist()], bad, mapped, index, "disk")


def remove_old(folder: Path) -> None:
    """Keep the few newest files, and remove temporary ones that nobody writes any more."""
    with suppress(FileNotFoundError):  # another run tidies at the same time
        newest_first = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
        temporary = folder.glob(f"*{SUFFIX}.*.tmp")
        abandoned = [path for path in temporary if path.stat().st_mtime < time.time() - _ABANDONED]
        for path in (*newest_first[_KEEP:], *abandoned):
            path.unlink()
