"""The file of a packed store: canvases one after another, then the index, then length and checksum of the index.

Written under a temporary name, flushed and renamed, so that a file under its final name is complete. Mapped read-only
when opened: its pages are shared between processes, and given back when memory is short. What a disk has damaged since
is found by checksums and decoded anew.
"""

import io
import mmap
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dinocli.data.parallel import in_order, thread_count
from dinocli.data.read import Canvas, Reader
from dinocli.data.sources import ImageList
from dinocli.data.store import Index, Packed
from dinocli.errors import DataError

SUFFIX = ".canvases"
_MAGIC = b"dinocli2"
_TAIL = 24  # bytes: length of the index, its checksum, then the magic word
_KEEP = 4  # files of earlier data or settings; each can be as large as the data
_ABANDONED = 86_400  # seconds without a write, after which a temporary file counts as abandoned


class Packfile(Packed):
    """A store mapped from a file. Each canvas is checked when it is first used: a start reads nothing but the index.

    Args:
        reader: How canvases are made.
        images: The list that was packed.
        bad: As `Store.bad`.
        mapped: The file.
        index: Index of it.
        sums_M: `checksum` of each canvas.
        path: Path of the file, which is removed when it turns out to be damaged, so that the next run writes another.
    """

    def __init__(
        self,
        reader: Reader,
        images: ImageList,
        bad: list[tuple[str, str]],
        mapped: mmap.mmap,
        index: Index,
        sums_M: NDArray[np.uint64],
        path: Path,
    ) -> None:
        super().__init__(reader, [images.names[row] for row in index.rows_N.tolist()], bad, mapped, index, "disk")
        self._reader, self._images, self._sums_M, self._path = reader, images, sums_M, path
        self._checked_M = np.zeros(len(sums_M), np.bool_)
        self._anew: dict[int, Canvas] = {}

    def canvas(self, i: int, window: int) -> Canvas:
        number = self.number(i, window)
        if not self._checked_M[number]:
            self._check(i, window)
        return self._anew[number] if number in self._anew else super().canvas(i, window)

    def flat(self) -> Canvas:
        """Return all canvases behind each other, read-only, all of them checked."""
        places = [(i, window) for i in range(len(self)) for window in range(self.windows(i))]
        for _ in in_order(lambda place: self.canvas(*place), places, thread_count("auto")):
            pass
        if not self._anew:
            return super().flat()
        whole = super().flat().copy()
        for place in places:
            if (canvas := self._anew.get(self.number(*place))) is not None:
                start = self.place(*place)[0]
                whole[start : start + canvas.size] = canvas.reshape(-1)
        whole.flags.writeable = False
        return whole

    def _check(self, i: int, window: int) -> None:
        number, found = self.number(i, window), super().canvas(i, window)
        if checksum(found) != int(self._sums_M[number]):
            self._anew[number] = self._decoded(i, window, found.shape)
        self._checked_M[number] = True

    def _decoded(self, i: int, window: int, shape: tuple[int, ...]) -> Canvas:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        try:
            canvas = self._reader.canvases(self._images.path(int(self._index.rows_N[i])))[window]
        except (DataError, IndexError) as error:
            raise DataError(f"{self.names[i]}: its decoded copy is damaged, and now {error}; start again") from error
        if canvas.shape != shape:
            raise DataError(f"{self.names[i]}: its decoded copy is damaged, and the image has changed; start again")
        canvas.flags.writeable = False
        return canvas


def checksum(canvas: Canvas) -> int:
    """Add up the bytes of a canvas as words of 64 bits, modulo 2**64.

    Any changed bit changes the sum. It costs 0.1 ms for a canvas of 448 pixels, a fifth of a CRC.
    """
    content = canvas.reshape(-1).view(np.uint8)
    whole = content.size // 8 * 8
    total = int(np.add.reduce(content[:whole].view(np.uint64), dtype=np.uint64))
    return (total + int.from_bytes(content[whole:].tobytes(), "little")) % 2**64


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


def append_index(file: IO[bytes], index: Index, sums: Sequence[int], unreadable: list[tuple[int, str]]) -> None:
    """Finish a file of canvases.

    Args:
        file: After the last canvas.
        index: Index of the canvases.
        sums: `checksum` of each.
        unreadable: Rows of the list, with the reason.
    """
    held = io.BytesIO()
    np.savez(
        held,
        starts=index.starts_N1,
        places=index.places_M3,
        rows=index.rows_N,
        sums=np.array(sums, dtype=np.uint64),
        bad_rows=np.array([row for row, _ in unreadable], dtype=np.int64),
        bad_reasons=np.array([reason for _, reason in unreadable], dtype=np.str_),
    )
    content = held.getvalue()
    file.write(content)
    file.write(len(content).to_bytes(8, "little") + zlib.crc32(content).to_bytes(8, "little") + _MAGIC)


def open_file(path: Path, reader: Reader, images: ImageList) -> Packfile | None:
    """Map a file that an earlier run, or another process, has written for the same images; None if it is not one.

    A damaged index is no index: the caller decodes all images anew, and the file is replaced.
    """
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # not there, not ours to read, or empty
        return None
    size = int.from_bytes(mapped[-_TAIL:-16], "little")
    if mapped[-8:] != _MAGIC or size > len(mapped) - _TAIL:
        return None
    content = mapped[-_TAIL - size : -_TAIL]
    if zlib.crc32(content) != int.from_bytes(mapped[-16:-8], "little"):
        return None
    with np.load(io.BytesIO(content)) as held:
        index = Index(held["starts"], held["places"], held["rows"])
        unreadable = zip(held["bad_rows"].tolist(), held["bad_reasons"].tolist(), strict=True)
        sums_M = held["sums"]
    with suppress(OSError):  # a folder that others filled for us
        os.utime(path)  # the newest are kept
    bad = [*images.bad, *((images.names[row], reason) for row, reason in unreadable)]
    return Packfile(reader, images, bad, mapped, index, sums_M, path)


def remove_old(folder: Path) -> None:
    """Keep the few newest files, and remove temporary ones that are no longer written."""
    with suppress(FileNotFoundError):  # another run tidies at the same time
        newest_first = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
        temporary = folder.glob(f"*{SUFFIX}.*.tmp")
        abandoned = [path for path in temporary if path.stat().st_mtime < time.time() - _ABANDONED]
        for path in (*newest_first[_KEEP:], *abandoned):
            path.unlink()
