"""Patch tokens as one `.npy` file per image, for grids of different shapes: `patches/a/b.png.npy` for `./a/b.png`."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from dinocli.artifacts.partial_features import Bad, BatchRows, journal_state, npy_header
from dinocli.data.region_of_interest import Box
from dinocli.files import hidden_sibling, remove_abandoned, write_atomic
from dinocli.journal import Journal


class PatchFolder:
    """Hidden folder and journal of an incomplete patch folder; same interface as `PartialFeatures`.

    Args:
        target: The complete folder; it must not exist.
        names: Names of all images.
        request: Options and inputs that determine the files, as JSON-like data; a resume needs the same ones.
        dtype: NumPy data type of the tokens.
        resume: Continue an interrupted folder.

    Attributes:
        pieces: Processed images.
        rows: Written files.
        bad: Unreadable images among the pieces.
    """

    def __init__(self, target: Path, names: list[str], request: dict[str, Any], dtype: str, *, resume: bool) -> None:
        self.target, self.path = target, hidden_sibling(target, "part")
        self.journal = Journal(hidden_sibling(target, "journal"))
        self.pieces, self.rows, self.bad = 0, 0, Bad()
        self._names, self._dtype = names, np.dtype(dtype)
        lines = self.journal.resume(request, str(target)) if resume and self.path.is_dir() else None
        if lines is None:
            self.remove()
            self.journal.begin(request)
        else:
            self.pieces, self.rows, self.bad = journal_state(lines)
        self._journaled_bad = len(self.bad)
        self.path.mkdir(exist_ok=True)
        for folder, _, _ in os.walk(self.path):
            remove_abandoned(Path(folder))

    def add(self, rows_b: BatchRows, boxes: list[Box], pieces: int, bad: Bad) -> None:
        """Write one file for each readable image of the next `pieces` images, and a journal line if one is due."""
        unreadable = {name for name, _ in bad}
        names = [name for name in self._names[self.pieces : self.pieces + pieces] if name not in unreadable]
        for name, row in zip(names, rows_b, strict=True):
            path = self.path / f"{name[2:]}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            header = npy_header(row.shape[0], row.shape[1:], self._dtype.str)
            write_atomic(path, header + np.asarray(row, self._dtype).tobytes())
        self.pieces, self.rows = self.pieces + pieces, self.rows + len(names)
        self.bad += bad
        if self.journal.is_due:
            self.commit()

    def commit(self) -> None:
        """Append a journal line; the files are on disk already."""
        self.journal.append({"pieces": self.pieces, "rows": self.rows, "bad": self.bad[self._journaled_bad :]})
        self._journaled_bad = len(self.bad)

    def finalize(self) -> Path:
        """Return the hidden folder; its files are complete already."""
        return self.path

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def remove(self) -> None:
        """Remove the hidden folder and the journal."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.journal.remove()
