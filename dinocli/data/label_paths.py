r"""Match the paths of a label table with images: written on another machine, with backslashes, or as a bare name.

A path means an image if it is its name, the end of its name (`1.png` of `./a/1.png`), or ends with its name
(`C:\data\a\1.png`); with or without the ending, and with other case, where that leaves one image.
"""

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dinocli.data.image_formats import image_suffixes

NO_IMAGE, SEVERAL = -1, -2


@dataclass(frozen=True)
class PathMatches:
    """Images that the paths of a table mean.

    Args:
        image_R: Place of each row's image among the names, `NO_IMAGE`, or `SEVERAL` where it could be more than one.
        loose: Rows whose path is not the name of their image.
    """

    image_R: list[int]
    loose: list[int] = field(default_factory=list)


def match_paths(paths: Sequence[str], names: Sequence[str]) -> PathMatches:
    """Find the image of each path.

    Args:
        paths: Paths of the rows of a table.
        names: Names of the images, unique, as `./a/b.png`.
    """
    exact = {posixpath.normpath(name): place for place, name in enumerate(names)}
    found = PathMatches([exact.get(posixpath.normpath(path), NO_IMAGE) if path else NO_IMAGE for path in paths])
    for key in (_plain, _stem, _folded):
        rows = [row for row, image in enumerate(found.image_R) if image == NO_IMAGE and paths[row]]
        if not rows:
            break
        index = _Index([key(name) for name in names])
        for row, image in zip(rows, index.find([key(paths[row]) for row in rows]), strict=True):
            found.image_R[row] = image
            if image >= 0:
                found.loose.append(row)
    found.loose.sort()
    return found


class _Index:
    """Names by themselves and by every end of them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.whole: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        for place, name in enumerate(names):
            self.whole[name] = SEVERAL if name in self.whole else place
            for end in _ends(name):
                self.ends[end] = SEVERAL if self.ends.get(end, place) != place else place

    def find(self, paths: Sequence[str]) -> Iterator[int]:
        found = [self._of(path) for path in paths]
        # `b/1.png` and `a/1.png` both end with the name `1.png`: then nothing says whose row it is
        whose = Counter(image for image, _ in set(zip(found, paths, strict=True)) if image >= 0)
        for path, image in zip(paths, found, strict=True):
            crowded = image >= 0 and whose[image] > 1 and path not in self.ends
            yield SEVERAL if crowded else image

    def _of(self, path: str) -> int:
        image = self.whole.get(path, self.ends.get(path, NO_IMAGE))
        if image != NO_IMAGE:
            return image
        return next((self.whole[end] for end in _ends(path) if end in self.whole), NO_IMAGE)


def _ends(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[first:]) for first in range(1, len(parts))]


def _plain(path: str) -> str:
    path = unicodedata.normalize("NFC", path).strip().strip('"').replace("\\", "/")
    path = re.sub(r"^(file://|[A-Za-z]:)", "", path)
    return posixpath.normpath(path).lstrip("/").removeprefix("./")


def _stem(path: str) -> str:
    plain = _plain(path)
    stem, ending = posixpath.splitext(plain)
    return stem if ending.lower() in image_suffixes() else plain


def _folded(path: str) -> str:
    return _stem(path).casefold()
