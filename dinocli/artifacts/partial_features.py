"""Incomplete feature file: a hidden file of rows and a journal, from which `embed --resume` continues.

Rows are appended with `pwrite`; pages of a writable memory map would count as memory of the process. The rows are
synced to disk before the journal line that counts them, so that after a crash the last complete line says where to
continue.

Shapes: N rows, b rows of a batch.
"""

import io
import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dinocli.data.region_of_interest import Box
from dinocli.files import hidden_sibling, named_errors
from dinocli.journal import Journal, Line
from dinocli.stored import Count, Stored, checked

Bad = list[tuple[str, str]]
"""Name of each unreadable image, with the reason."""

BatchRows = NDArray[np.floating] | list[NDArray[np.float32]]
"""Rows of a batch; a list if patch grids differ in shape."""

_BOX_DTYPE = np.dtype(np.int32)
_BOX_BYTES = 4 * _BOX_DTYPE.itemsize


def npy_header(rows: int, shape: tuple[int, ...], dtype: str) -> bytes:
    """Return the header of an `.npy` file; numpy pads it, so that its length is the same for any number of rows."""
    file = io.BytesIO()
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, *shape)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


class EmbedJournalLine(Stored):
    """A journal line: pieces and rows on disk so far, and images found unreadable since the last line."""

    pieces: Count
    rows: Count
    bad: list[Annotated[list[str], Field(min_length=2, max_length=2)]]


class PartialFeatures:
    """Rows, tiles and journal of an incomplete feature file.

    Args:
        target: The complete feature file.
        request: Options and inputs that determine the rows, as JSON-like data; a resume needs the same ones.
        shape: Shape of one row.
        dtype: NumPy data type of the rows.
        resume: Continue an interrupted file.

    Attributes:
        pieces: Processed images or tiles.
        rows: Written rows.
        bad: Unreadable images among the pieces.

    Raises:
        UsageError: The interrupted file belongs to another request.
        OSError: The folder cannot be written.
    """

    def __init__(
        self, target: Path, request: dict[str, Any], shape: tuple[int, ...], dtype: str, *, resume: bool
    ) -> None:
        self.target, self.shape, self.dtype = target, shape, np.dtype(dtype)
        self.path, self.tiles, journal = (hidden_sibling(target, word) for word in ("part", "tiles", "journal"))
        self.journal = Journal(journal)
        self.pieces, self.rows, self.bad = 0, 0, Bad()
        self._journaled_bad = 0
        self._header_bytes = len(npy_header(0, shape, dtype))
        if not (resume and self._resume(request)):
            self.remove()
            with named_errors(target):
                self.path.write_bytes(npy_header(0, shape, dtype))
                self.tiles.write_bytes(b"")
            self.journal.begin(request)
        self._file, self._boxes = os.open(self.path, os.O_RDWR), os.open(self.tiles, os.O_RDWR)

    def add(self, rows_b: BatchRows, boxes: list[Box], pieces: int, bad: Bad) -> None:
        """Append rows, and a journal line if one is due.

        Args:
            rows_b: (b, ...).
            boxes: Tile of each row.
            pieces: Processed images or tiles, also those without rows.
            bad: Unreadable images among the pieces.
        """
        with named_errors(self.target):
            _write(self._file, np.asarray(rows_b, self.dtype), self._header_bytes + self.rows * self._row_bytes)
            _write(self._boxes, np.array(boxes, _BOX_DTYPE), self.rows * _BOX_BYTES)
        self.pieces, self.rows = self.pieces + pieces, self.rows + len(rows_b)
        self.bad += bad
        if self.journal.is_due:
            self.commit()

    def commit(self) -> None:
        """Sync the rows to disk, then append the journal line that counts them."""
        with named_errors(self.target):
            os.fsync(self._file)
            os.fsync(self._boxes)
        self.journal.append({"pieces": self.pieces, "rows": self.rows, "bad": self.bad[self._journaled_bad :]})
        self._journaled_bad = len(self.bad)

    def array(self) -> NDArray[np.floating]:
        """Return all rows, (N, ...), as a read-only memory map."""
        if not self.rows:
            return np.empty((0, *self.shape), self.dtype)
        return np.memmap(self.path, self.dtype, "r", self._header_bytes, (self.rows, *self.shape))

    def boxes(self) -> NDArray[np.int32]:
        """Return the tile of each row, (N, 4)."""
        return np.fromfile(self.tiles, _BOX_DTYPE, 4 * self.rows).reshape(-1, 4)

    def finalize(self) -> Path:
        """Make the hidden file a valid `.npy` file of the rows so far, and return its path; more rows may follow."""
        with named_errors(self.target):
            os.ftruncate(self._file, self._header_bytes + self.rows * self._row_bytes)
            os.pwrite(self._file, npy_header(self.rows, self.shape, self.dtype.str), 0)
            os.fsync(self._file)
        return self.path

    def close(self) -> None:
        """Close the files; rows that were not committed are lost."""
        for descriptor in {self._file, self._boxes} - {-1}:
            os.close(descriptor)
        self._file = self._boxes = -1

    def remove(self) -> None:
        """Remove all hidden files."""
        for path in (self.path, self.tiles, self.journal.path):
            path.unlink(missing_ok=True)

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def _resume(self, request: dict[str, Any]) -> bool:
        """Load the state of an interrupted file; False if there is none to continue."""
        lines = self.journal.resume(request, str(self.target))
        if lines is None or not self.path.is_file() or not self.tiles.is_file():
            return False
        try:
            pieces, rows, bad = journal_state(lines)
        except ValueError:
            return False  # a damaged journal: start again
        row_bytes, box_bytes = self.path.stat().st_size - self._header_bytes, self.tiles.stat().st_size
        if row_bytes < rows * self._row_bytes or box_bytes < rows * _BOX_BYTES:
            return False
        self.pieces, self.rows, self.bad, self._journaled_bad = pieces, rows, bad, len(bad)
        return True


def journal_state(lines: list[Line]) -> tuple[int, int, Bad]:
    """Return the numbers of pieces and rows on disk, and the unreadable images, from the lines of a journal."""
    records = [checked(line, EmbedJournalLine) for line in lines]
    bad = [(name, reason) for record in records for name, reason in record["bad"]]
    return (records[-1]["pieces"], records[-1]["rows"], bad) if records else (0, 0, bad)


def _write(file: int, values: NDArray[Any], offset: int) -> None:
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
