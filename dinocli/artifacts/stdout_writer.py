"""Features on standard output, as the bytes of an `.npy` file."""

from typing import BinaryIO

import numpy as np

from dinocli.artifacts.partial_features import Bad, BatchRows, npy_header
from dinocli.data.region_of_interest import Box


class StdoutWriter:
    """Writes rows as they come. The `.npy` header states their number, so that unreadable images need a row too.

    Args:
        stream: Output stream.
        rows: Number of all rows.
        shape: Shape of one row.
        dtype: NumPy data type of the rows.
    """

    def __init__(self, stream: BinaryIO, rows: int, shape: tuple[int, ...], dtype: str) -> None:
        self.pieces, self.rows, self.bad = 0, 0, Bad()
        self._stream, self._dtype = stream, np.dtype(dtype)
        stream.write(npy_header(rows, shape, self._dtype.str))

    def add(self, rows_b: BatchRows, boxes: list[Box], pieces: int, bad: Bad) -> None:
        """Write the rows of the next `pieces` images or tiles."""
        self._stream.write(np.asarray(rows_b, self._dtype).tobytes())
        self.pieces, self.rows = self.pieces + pieces, self.rows + len(rows_b)
        self.bad += bad

    def commit(self) -> None:
        """Flush the stream."""
        self._stream.flush()
