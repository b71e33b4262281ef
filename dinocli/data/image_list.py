"""`ImageList`: the images of a command, by their names below one root folder."""

import contextlib
import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from dinocli.data.image_source import size_and_mtime
from dinocli.errors import DataError, counted

_MAX_CHECKED = 100_000
"""Images whose modification time is read: seconds on a disk, minutes on a slow network file system."""

_FEW = 8


@dataclass(frozen=True)
class ImageList:
    """Images below one root folder.

    Args:
        root: Absolute folder that all names are relative to: `--root`, else the input folder, or the deepest common
            parent of several inputs.
        names: Sorted, unique, written ``./a/b.png``, so that no name can be taken for an option or a formula.
        bad: Names that do not fit on one line of UTF-8, escaped, each with the reason.
        notes: Sentences on what was left out, and on files that may not be images.
        reordered: Whether files were named one by one, in a list or as inputs, in another order or number.
    """

    root: Path
    names: list[str]
    bad: list[tuple[str, str]]
    notes: tuple[str, ...] = ()
    reordered: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def path(self, i: int) -> str:
        """Return the path of image ``i``."""
        return os.path.join(self.root, self.names[i][2:])

    def paths(self) -> list[str]:
        """Return the path of each image."""
        return [self.path(i) for i in range(len(self))]

    def spread(self, count: int) -> "ImageList":
        """Return at most `count` evenly spread images, for a trial."""
        last, count = len(self) - 1, min(count, len(self))
        indices = [round(number * last / max(1, count - 1)) for number in range(count)]
        return replace(self, names=[self.names[index] for index in indices])

    def are_gone(self) -> bool:
        """Return whether none of a few images, evenly spread, is there."""
        for path in self.spread(_FEW).paths():
            with contextlib.suppress(OSError, DataError):
                size_and_mtime(path)
                return False
        return len(self) > 0

    def modified_after(self, seconds: float) -> list[str]:
        """Return the names of images that were modified later, of at most `_MAX_CHECKED` evenly spread ones.

        Args:
            seconds: Time since the epoch. Images that are gone are left out.
        """
        modified = []
        for i in range(0, len(self), 1 + len(self) // _MAX_CHECKED):
            with contextlib.suppress(OSError):
                if os.stat(self.path(i)).st_mtime > seconds:
                    modified.append(self.names[i])
        return modified

    def digest(self) -> str:
        """Hash names, sizes and modification times, not contents: seconds for a million files, not hours.

        Returns:
            SHA-256 in hexadecimal. It does not depend on the root folder. A missing file counts as size -1.
        """
        sha = hashlib.sha256()
        for i, name in enumerate(self.names):
            try:
                size, time = size_and_mtime(self.path(i))
            except OSError:
                size, time = -1, 0
            sha.update(f"{name}\0{size}\0{time}\n".encode())
        return sha.hexdigest()


def modified_words(names: list[str]) -> str:
    """Return the number of modified images with the first name, as the beginning of a sentence."""
    return f"{counted(len(names), 'image')}, such as {names[0]}, {'was' if len(names) == 1 else 'were'} modified"
