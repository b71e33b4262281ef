"""Rows to standard output, as the bytes of an `.npy` file."""

from typing import BinaryIO

import numpy as np

from dinocli.artifacts.feature_file import Box
from dinocli.artifacts.partial_features import Bad, Rows, npy_header


class StdoutWriter:
    """Sends rows on as they come. The head names their number first, so every piece has to be a row.

    Args:
        stream: Where to.
        rows: How many will come.
        shape: Shape of one row.
        dtype: Number type of the numbers.
    """

    def __init__(self, stream: BinaryIO, rows: int, shape: tuple[int, ...], dtype: str) -> None:
        self.pieces, self.rows, self.bad = 0, 0, Bad()
        self._stream, self._dtype = stream, np.dtype(dtype)
        stream.write(npy_header(rows, shape, self._dtype.str))

    def add(self, rows_b: Rows, boxes: list[Box], pieces: int, bad: Bad) -> None:
        """Send the rows of some more pieces."""
        self._stream.write(np.asarray(rows_b, self._dtype).tobytes())
        self.pieces, self.rows = self.pieces + pieces, self.rows + len(rows_b)
        self.bad += bad

    def commit(self) -> None:
        """Let the reader have what was written."""
        self._stream.flush()
