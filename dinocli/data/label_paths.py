r"""Match the paths of a label table to images: absolute paths of another machine, backslashes, bare file names.

A path matches an image if it equals its name, is the end of its name (`1.png` of `./a/1.png`), or ends with its name
(`C:\data\a\1.png`). Then it is compared without suffix, and last without case. The match has to be unique.
"""

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dinocli.data.image_formats import image_suffixes

NO_IMAGE, AMBIGUOUS = -1, -2


@dataclass(frozen=True)
class PathMatches:
    """Matches between the R rows of a table and images.

    Args:
        image_R: Index of each row's image among the names, `NO_IMAGE`, or `AMBIGUOUS` if several match.
        loose: Rows whose path does not equal the name of their image.
    """

    image_R: list[int]
    loose: list[int] = field(default_factory=list)


def match_paths(paths: Sequence[str], names: Sequence[str]) -> PathMatches:
    """Find the image of each path.

    Args:
        paths: Path of each row of a table.
        names: Image names, unique, written `./a/b.png`.
    """
    exact = {posixpath.normpath(name): image for image, name in enumerate(names)}
    matches = PathMatches([exact.get(posixpath.normpath(path), NO_IMAGE) if path else NO_IMAGE for path in paths])
    for key in (_normalized, _without_suffix, _without_case):
        rows = [row for row, image in enumerate(matches.image_R) if image == NO_IMAGE and paths[row]]
        if not rows:
            break
        index = _NameIndex([key(name) for name in names])
        for row, image in zip(rows, index.find([key(paths[row]) for row in rows]), strict=True):
            matches.image_R[row] = image
            if image >= 0:
                matches.loose.append(row)
    matches.loose.sort()
    return matches


class _NameIndex:
    """Image indices by name, and by each proper end of a name."""

    def __init__(self, names: Sequence[str]) -> None:
        self.by_name: dict[str, int] = {}
        self.by_end: dict[str, int] = {}
        for image, name in enumerate(names):
            self.by_name[name] = AMBIGUOUS if name in self.by_name else image
            for end in _ends(name):
                self.by_end[end] = AMBIGUOUS if self.by_end.get(end, image) != image else image

    def find(self, paths: Sequence[str]) -> Iterator[int]:
        images = [self._find_one(path) for path in paths]
        # `b/1.png` and `a/1.png` both end with the name `1.png`: the row of the image is then ambiguous.
        paths_of_image = Counter(image for image, _ in set(zip(images, paths, strict=True)) if image >= 0)
        for path, image in zip(paths, images, strict=True):
            is_ambiguous = image >= 0 and paths_of_image[image] > 1 and path not in self.by_end
            yield AMBIGUOUS if is_ambiguous else image

    def _find_one(self, path: str) -> int:
        image = self.by_name.get(path, self.by_end.get(path, NO_IMAGE))
        if image != NO_IMAGE:
            return image
        return next((self.by_name[end] for end in _ends(path) if end in self.by_name), NO_IMAGE)


def _ends(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[first:]) for first in range(1, len(parts))]


def _normalized(path: str) -> str:
    path = unicodedata.normalize("NFC", path).strip().strip('"').replace("\\", "/")
    path = re.sub(r"^(file://|[A-Za-z]:)", "", path)
    return posixpath.normpath(path).lstrip("/").removeprefix("./")


def _without_suffix(path: str) -> str:
    normalized = _normalized(path)
    stem, suffix = posixpath.splitext(normalized)
    return stem if suffix.lower() in image_suffixes() else normalized


def _without_case(path: str) -> str:
    return _without_suffix(path).casefold()
