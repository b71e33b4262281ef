"""Rows on their way to a feature file: a hidden neighbour of it, and a journal of what it holds.

Rows are written behind each other with `pwrite`: pages of a writable map would count as this process's memory. The
journal is one JSON object a line, and a line stands only once its rows are on the disk; so whatever ends the process,
the last whole line says where to go on.

Shapes: N rows, b rows of a batch.
"""

import contextlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import UsageError
from dinocli.tasks.feature_file import Box

Bad = list[tuple[str, str]]
"""Names and reasons."""

BOX = np.dtype(np.int32)
"""Of the four numbers of a tile."""

COMMIT_SECONDS = 1.0
"""At most this much work is lost by a kill."""


def npy_header(rows: int, shape: tuple[int, ...], dtype: str) -> bytes:
    """Return the head of an `.npy` file; numpy leaves room for any number of rows, so its length does not change."""
    head = io.BytesIO()
    about = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, *shape)}
    np.lib.format.write_array_header_1_0(head, about)
    return head.getvalue()


class Part:
    """The rows so far, and what they are of.

    Args:
        target: The feature file that they will be.
        request: What determines the rows, as JSON-like data; only the same request may go on.
        shape: Of one row.
        dtype: Of the numbers.
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
        self.path, self.journal, self.tiles = (
            target.with_name(f".{target.name}.{word}") for word in ("part", "journal", "tiles")
        )
        self.pieces, self.rows, self.bad = 0, 0, Bad()
        self._told, self._when = 0, time.monotonic()
        self._head = len(npy_header(0, shape, dtype))
        if not (resume and self._found(request)):
            self.remove()
            self.path.write_bytes(npy_header(0, shape, dtype))
            self.tiles.write_bytes(b"")
            self._append(request)
        self._file, self._boxes = os.open(self.path, os.O_RDWR), os.open(self.tiles, os.O_RDWR)

    def add(self, rows_b: NDArray[np.floating], boxes: list[Box], pieces: int, bad: Bad) -> None:
        """Write the rows of some more pieces, of which some may be bad; say so in the journal now and then.

        Args:
            rows_b: (b, ...).
            boxes: Tile of each row.
            pieces: Images or tiles that these are the rows of.
            bad: Unreadable images among them.
        """
        _write(self._file, np.asarray(rows_b, self.dtype), self._head + self.rows * self._row_bytes)
        _write(self._boxes, np.array(boxes, BOX), self.rows * BOX.itemsize * 4)
        self.pieces, self.rows = self.pieces + pieces, self.rows + len(rows_b)
        self.bad += bad
        if time.monotonic() - self._when >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Bring the rows to the disk, then the line that tells of them."""
        os.fsync(self._file)
        os.fsync(self._boxes)
        self._append({"pieces": self.pieces, "rows": self.rows, "bad": self.bad[self._told :]})
        self._told, self._when = len(self.bad), time.monotonic()

    def array(self) -> NDArray[np.floating]:
        """Return all rows as (N, ...), mapped read-only."""
        if not self.rows:
            return np.empty((0, *self.shape), self.dtype)
        return np.memmap(self.path, self.dtype, "r", self._head, (self.rows, *self.shape))

    def boxes(self) -> NDArray[np.int32]:
        """Return the tile of each row as (N, 4)."""
        return np.fromfile(self.tiles, BOX, 4 * self.rows).reshape(-1, 4)

    def finish(self) -> None:
        """Become the `.npy` file."""
        os.ftruncate(self._file, self._head + self.rows * self._row_bytes)
        os.pwrite(self._file, npy_header(self.rows, self.shape, self.dtype.str), 0)
        os.fsync(self._file)
        self.path.replace(self.target)

    def close(self) -> None:
        """Let go of the file; what was not committed is lost."""
        for number in {self._file, self._boxes} - {-1}:
            os.close(number)
        self._file = self._boxes = -1

    def remove(self) -> None:
        """Leave nothing behind."""
        for path in (self.path, self.journal, self.tiles):
            path.unlink(missing_ok=True)

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def _append(self, line: dict[str, Any]) -> None:
        with self.journal.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _found(self, request: dict[str, Any]) -> bool:
        """Take over what an earlier process left, if it left anything of use."""
        with contextlib.suppress(OSError):
            whole = self.journal.read_bytes().rpartition(b"\n")[0]
            lines = [json.loads(line) for line in whole.splitlines()]
            size = self.path.stat().st_size
            if not lines:
                return False
            check_same(lines[0], request, str(self.target))
            for line in lines[1:]:
                self.pieces, self.rows = line["pieces"], line["rows"]
                self.bad += [(name, reason) for name, reason in line["bad"]]
            self._told = len(self.bad)
            self.journal.write_bytes(whole + b"\n")
            return size >= self._head + self.rows * self._row_bytes
        return False


def _write(file: int, values: NDArray[Any], place: int) -> None:
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    while data:
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written


def check_same(kept: dict[str, Any], request: dict[str, Any], name: str) -> None:
    """Raise a `UsageError` with the differences, if the rows of one request are no rows of the other."""
    asked = json.loads(json.dumps(request))
    changed = [key for key in asked if kept.get(key) != asked[key]]
    if changed:
        shown = "; ".join(f"{key}: {kept.get(key)} -> {asked[key]}" for key in changed)
        raise UsageError(f"--resume needs the same command as before; of {name} changed: {shown}; or use --force")
