"""Rows on their way to a feature file: a hidden neighbour of it, and a journal of what it holds.

Rows are written behind each other with `pwrite`: pages of a writable map would count as this process's memory. A line
of the journal stands only once its rows are on the disk; so whatever ends the process, the last whole line says where
to continue.

Shapes: N rows, b rows of a batch.
"""

import io
import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dinocli.artifacts.feature_file import Box
from dinocli.files import hidden, naming
from dinocli.journal import Journal, Line
from dinocli.stored import Count, Stored, checked

Bad = list[tuple[str, str]]
"""Names and reasons."""

Rows = NDArray[np.floating] | list[NDArray[np.float32]]
"""Rows of a batch; a list where grids of patches have different shapes."""

BOX = np.dtype(np.int32)
"""Of the four numbers of a tile."""


def npy_header(rows: int, shape: tuple[int, ...], dtype: str) -> bytes:
    """Return the head of an `.npy` file; numpy leaves room for any number of rows, so its length does not change."""
    head = io.BytesIO()
    about = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, *shape)}
    np.lib.format.write_array_header_1_0(head, about)
    return head.getvalue()


class EmbedJournalLine(Stored):
    """One line of the journal: rows and pieces that are on the disk."""

    pieces: Count
    rows: Count
    bad: list[Annotated[list[str], Field(min_length=2, max_length=2)]]


class PartialFeatures:
    """The rows so far, and what they are of.

    Args:
        target: The feature file that they will be.
        request: What determines the rows, as JSON-like data; only the same request may continue.
        shape: Shape of one row.
        dtype: Number type of the numbers.
        resume: Go on with what is there.

    Attributes:
        pieces: Images or tiles done.
        rows: Rows written.
        bad: Unreadable images among them.

    Raises:
        UsageError: What is there was made for another request.
        OSError: The folder cannot be written.
    """

    def __init__(
        self, target: Path, request: dict[str, Any], shape: tuple[int, ...], dtype: str, *, resume: bool
    ) -> None:
        self.target, self.shape, self.dtype = target, shape, np.dtype(dtype)
        self.path, self.tiles, journal = (hidden(target, word) for word in ("part", "tiles", "journal"))
        self.journal = Journal(journal)
        self.pieces, self.rows, self.bad = 0, 0, Bad()
        self._told = 0
        self._head = len(npy_header(0, shape, dtype))
        if not (resume and self._found(request)):
            self.remove()
            with naming(target):
                self.path.write_bytes(npy_header(0, shape, dtype))
                self.tiles.write_bytes(b"")
            self.journal.begin(request)
        self._file, self._boxes = os.open(self.path, os.O_RDWR), os.open(self.tiles, os.O_RDWR)

    def add(self, rows_b: Rows, boxes: list[Box], pieces: int, bad: Bad) -> None:
        """Write the rows of some more pieces, of which some may be bad; say so in the journal now and then.

        Args:
            rows_b: (b, ...).
            boxes: Tile of each row.
            pieces: Images or tiles that these are the rows of.
            bad: Unreadable images among them.
        """
        with naming(self.target):
            _write(self._file, np.asarray(rows_b, self.dtype), self._head + self.rows * self._row_bytes)
            _write(self._boxes, np.array(boxes, BOX), self.rows * BOX.itemsize * 4)
        self.pieces, self.rows = self.pieces + pieces, self.rows + len(rows_b)
        self.bad += bad
        if self.journal.is_due:
            self.commit()

    def commit(self) -> None:
        """Bring the rows to the disk, then the line that tells of them."""
        with naming(self.target):
            os.fsync(self._file)
            os.fsync(self._boxes)
        self.journal.append({"pieces": self.pieces, "rows": self.rows, "bad": self.bad[self._told :]})
        self._told = len(self.bad)

    def array(self) -> NDArray[np.floating]:
        """Return all rows as (N, ...), mapped read-only."""
        if not self.rows:
            return np.empty((0, *self.shape), self.dtype)
        return np.memmap(self.path, self.dtype, "r", self._head, (self.rows, *self.shape))

    def boxes(self) -> NDArray[np.int32]:
        """Return the tile of each row as (N, 4)."""
        return np.fromfile(self.tiles, BOX, 4 * self.rows).reshape(-1, 4)

    def sealed(self) -> Path:
        """Make the hidden file a whole `.npy` file, and return its path; more rows may still follow."""
        with naming(self.target):
            os.ftruncate(self._file, self._head + self.rows * self._row_bytes)
            os.pwrite(self._file, npy_header(self.rows, self.shape, self.dtype.str), 0)
            os.fsync(self._file)
        return self.path

    def close(self) -> None:
        """Let go of the file; what was not committed is lost."""
        for number in {self._file, self._boxes} - {-1}:
            os.close(number)
        self._file = self._boxes = -1

    def remove(self) -> None:
        """Leave nothing behind."""
        for path in (self.path, self.tiles, self.journal.path):
            path.unlink(missing_ok=True)

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def _found(self, request: dict[str, Any]) -> bool:
        """Take over what an earlier process left, if it left anything of use."""
        lines = self.journal.found(request, str(self.target))
        if lines is None or not self.path.is_file() or not self.tiles.is_file():
            return False
        try:
            pieces, rows, bad = told(lines)
        except ValueError:
            return False  # damaged: nothing of use
        there = self.path.stat().st_size - self._head, self.tiles.stat().st_size
        if there[0] < rows * self._row_bytes or there[1] < rows * BOX.itemsize * 4:
            return False
        self.pieces, self.rows, self.bad, self._told = pieces, rows, bad, len(bad)
        return True


def told(lines: list[Line]) -> tuple[int, int, Bad]:
    """Return what the lines of a journal tell of: pieces and rows that are done, and the unreadable images."""
    known = [checked(line, EmbedJournalLine) for line in lines]
    bad = [(name, reason) for line in known for name, reason in line["bad"]]
    return (known[-1]["pieces"], known[-1]["rows"], bad) if known else (0, 0, bad)


def _write(file: int, values: NDArray[Any], place: int) -> None:
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    while data:
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written
