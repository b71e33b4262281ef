"""Names of what is written for an image: same folders, same name, another suffix."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath


def output_stems(names: Sequence[str]) -> list[str]:
    """Return the path of each image's outputs below their folder, without the suffix.

    `a/b.tif` becomes `a/b`. Where two images would become the same (`b.tif` beside `b.png`, or beside `B.png`, which
    some file systems take for the same), all of them keep their own suffix: `a/b.tif`, `a/b.png`.

    Args:
        names: Unique, as `ImageList.names` has them.
    """
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    while True:  # a name kept whole can meet another stem (`b.tif` and `b.tif.png`); whole names never meet each other
        seen = Counter(map(_folded, stems))
        clashing = [place for place, stem in enumerate(stems) if seen[_folded(stem)] > 1]
        kept = [place for place in clashing if stems[place] != _whole(names[place])]
        if not kept:
            return stems
        for place in kept:
            stems[place] = _whole(names[place])


def natural_order(names: Sequence[str]) -> list[int]:
    """Return the places of names with their numbers counted: `frame2` before `frame10`."""
    parts = [re.split(r"(\d+)", name) for name in names]
    keys = [[(int(part), "") if number % 2 else (0, part) for number, part in enumerate(split)] for split in parts]
    return sorted(range(len(names)), key=lambda place: (keys[place], names[place]))


def _whole(name: str) -> str:
    return str(PurePosixPath(name))


def _folded(stem: str) -> str:
    return stem.casefold()
