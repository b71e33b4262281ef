"""Patch tokens as one file an image, for grids of different shapes: `patches/a/b.png.npy` is that of `./a/b.png`."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from dinocli.artifacts.feature_file import Box
from dinocli.artifacts.partial_features import Bad, Rows, npy_header, told
from dinocli.files import hidden, remove_abandoned, write_whole
from dinocli.journal import Journal


class PatchFolder:
    """A hidden folder beside the one that it will be, and the journal of what it holds.

    Args:
        target: The folder to be; nothing is there yet.
        names: Names of all images.
        request: What determines the files; only the same request may continue.
        dtype: Number type of the numbers.
        resume: Go on with what is there.

    Attributes:
        pieces: Images done.
        rows: Files written.
        bad: Unreadable images among them.
    """

    def __init__(self, target: Path, names: list[str], request: dict[str, Any], dtype: str, *, resume: bool) -> None:
        self.target, self.path, self.journal = target, hidden(target, "part"), Journal(hidden(target, "journal"))
        self.pieces, self.rows, self.bad = 0, 0, Bad()
        self._names, self._dtype = names, np.dtype(dtype)
        lines = self.journal.found(request, str(target)) if resume and self.path.is_dir() else None
        if lines is None:
            self.remove()
            self.journal.begin(request)
        else:
            self.pieces, self.rows, self.bad = told(lines)
        self._told = len(self.bad)
        self.path.mkdir(exist_ok=True)
        for folder, _, _ in os.walk(self.path):
            remove_abandoned(Path(folder))

    def add(self, rows_b: Rows, boxes: list[Box], pieces: int, bad: Bad) -> None:
        """Write the grids of some more images, of which some may be bad."""
        unreadable = {name for name, _ in bad}
        names = [name for name in self._names[self.pieces : self.pieces + pieces] if name not in unreadable]
        for name, row in zip(names, rows_b, strict=True):
            path = self.path / f"{name[2:]}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            head = npy_header(row.shape[0], row.shape[1:], self._dtype.str)
            write_whole(path, head + np.asarray(row, self._dtype).tobytes())
        self.pieces, self.rows = self.pieces + pieces, self.rows + len(names)
        self.bad += bad
        if self.journal.is_due:
            self.commit()

    def commit(self) -> None:
        """Say in the journal what is there; each file is on the disk already."""
        self.journal.append({"pieces": self.pieces, "rows": self.rows, "bad": self.bad[self._told :]})
        self._told = len(self.bad)

    def sealed(self) -> Path:
        """Return the hidden folder; each file is whole already."""
        return self.path

    def close(self) -> None:
        """Nothing is open."""

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.journal.remove()
