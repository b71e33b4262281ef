"""Output paths of images, relative to the output folder, and natural order of names."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath


def output_stems(names: Sequence[str]) -> list[str]:
    """Return the output path of each image without a file type: `a/b` for `a/b.tif`.

    Images whose paths would collide (`b.tif` and `b.png`, or `B.png` on a case-insensitive file system) keep their
    suffix: `a/b.tif`, `a/b.png`.

    Args:
        names: Unique names, as in `ImageList.names`.
    """
    full = [str(PurePosixPath(name)) for name in names]
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    while True:  # a full name can collide with another stem (`b.tif` and `b.tif.png`); full names never collide
        count = Counter(map(str.casefold, stems))
        colliding = [row for row, stem in enumerate(stems) if count[stem.casefold()] > 1 and stem != full[row]]
        if not colliding:
            return stems
        for row in colliding:
            stems[row] = full[row]


def natural_order(names: Sequence[str]) -> list[int]:
    """Return the indices that sort names with their digits compared as numbers: `frame2` before `frame10`."""
    parts = [re.split(r"(\d+)", name) for name in names]
    keys = [[(int(part), "") if index % 2 else (0, part) for index, part in enumerate(split)] for split in parts]
    return sorted(range(len(names)), key=lambda row: (keys[row], names[row]))
