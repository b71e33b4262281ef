"""Patch tokens as one file an image, for grids of different shapes: `patches/a/b.png.npy` is that of `./a/b.png`."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from dinocli.files import write_whole
from dinocli.tasks.embed.partial_features import Bad, Journal, Rows, npy_header
from dinocli.tasks.feature_file import Box


class PatchFolder:
    """A hidden folder beside the one that it will be, and the journal of what it holds.

    Args:
        target: The folder to be; nothing is there yet.
        names: Of all images.
        request: What determines the files; only the same request may go on.
        dtype: Of the numbers.
        resume: Go on with what is there.

    Attributes:
        pieces: Images done.
        rows: Files written.
        bad: Unreadable images among them.
    """

    def __init__(self, target: Path, names: list[str], request: dict[str, Any], dtype: str, *, resume: bool) -> None:
        self.target, self.path = target, target.with_name(f".{target.name}.part")
        self.journal = Journal(target.with_name(f".{target.name}.journal"))
        self.pieces, self.rows, self.bad = 0, 0, Bad()
        self._names, self._dtype = names, np.dtype(dtype)
        lines = self.journal.read(request, str(target)) if resume else None
        if lines is None or not self.path.is_dir():
            self.journal.begin(request)  # files of an earlier attempt are written over
        for line in lines or []:
            self.pieces, self.rows = line["pieces"], line["rows"]
            self.bad += [(name, reason) for name, reason in line["bad"]]
        self._told = len(self.bad)
        self.path.mkdir(exist_ok=True)

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

    def finish(self) -> None:
        """Become the folder."""
        os.rename(self.path, self.target)

    def close(self) -> None:
        """Nothing is open."""

    def remove(self) -> None:
        """Leave nothing behind."""
        self.journal.path.unlink(missing_ok=True)
