"""Recognise masks and other versions of images by name: `img_0_mask.png` or `img_0_thumb.png` of `img_0.png`."""

import posixpath
import re
from collections import Counter
from collections.abc import Sequence

_WORDS = "masks?|labels?|seg|segm|segmentations?|annotations?|annot|instances?|gt|ground_?truth|truth"
_MASK_SUFFIX = re.compile(rf"(?P<stem>.+?)[ ._-]+(?:cp[ ._-]?)?(?:{_WORDS})(?:[ ._-]?\d{{1,3}})?", re.IGNORECASE)
_MASK_PREFIX = re.compile(rf"(?:{_WORDS})[ ._-]+(?P<stem>.+)", re.IGNORECASE)
_MASK_FOLDER = re.compile(
    rf"(?:.*[ ._-])?(?:{_WORDS})(?:[ ._-].*)?|segmentation(?:class|object)|masks?\d*", re.IGNORECASE
)
_ANY_WORD = re.compile(f"{_WORDS}|segmentation", re.IGNORECASE)

_SEPARATOR = re.compile("[ ._-]")
_MIN_VERSIONS = 3
"""Files with the same addition to the names of others, such as `_thumb`; fewer are a coincidence."""


def mask_names(names: Sequence[str]) -> dict[str, str]:
    """Find the files that are masks of other files in the list, by their names.

    A mask counts only if its image is listed too: `face_mask.png` alone is an image.

    Args:
        names: Image names, written `./a/b.png`.

    Returns:
        Name of each mask -> name of its image, in the order of `names`.
    """
    candidates = [name for name in names if _ANY_WORD.search(name)]
    if not candidates:
        return {}
    images = {posixpath.splitext(name)[0]: name for name in reversed(names)}
    by_stem = {posixpath.basename(stem): name for stem, name in images.items() if not _in_mask_folder(name)}
    image_of = {name: _image_of(name, images, by_stem) for name in candidates}
    return {name: image for name, image in image_of.items() if image and not image_of.get(image)}


def version_names(names: Sequence[str]) -> dict[str, str]:
    """Find the files that several others share an addition of their names with: `thumb_a.png` of `a.png`.

    An addition has a letter, is separated by a blank or one of ``._-``, and is that of three files or more:
    ``part_2.png`` beside ``part.png`` is an image.

    Args:
        names: Image names, written `./a/b.png`.

    Returns:
        Name of each version -> name of the file in the same folder that it is a version of, in the order of `names`.
    """
    files = {name.rpartition(".")[0]: name for name in reversed(names)}
    found = {name: hit for stem, name in files.items() if (hit := _version_of(stem, files))}
    counts = Counter(addition for addition, _ in found.values())
    return {name: found[name][1] for name in names if name in found and counts[found[name][0]] >= _MIN_VERSIONS}


def _version_of(stem: str, files: dict[str, str]) -> tuple[str, str] | None:
    """Return an addition of one or two words with a letter, and the file that is named without it."""
    start = stem.rfind("/") + 1
    ends = [match.start() for match in _SEPARATOR.finditer(stem, start)]
    for end in ends[-2:]:
        if stem[:end] in files and any(map(str.isalpha, stem[end:])):
            return stem[end:], files[stem[:end]]
    for end in ends[:2]:
        rest = stem[:start] + stem[end + 1 :]
        if rest in files and any(map(str.isalpha, stem[start:end])):
            return stem[start:end], files[rest]
    return None


def _image_of(name: str, images: dict[str, str], by_stem: dict[str, str]) -> str:
    folder, file = posixpath.split(name)
    stem = posixpath.splitext(file)[0].rstrip()
    for pattern in (_MASK_SUFFIX, _MASK_PREFIX):
        match = pattern.fullmatch(stem)
        if match:
            image_stem = match["stem"]  # may include the image's suffix: `img_0.jpg_mask.png`
            for candidate in (image_stem, posixpath.splitext(image_stem)[0]):
                image = images.get(posixpath.join(folder, candidate), "")
                if not image and _in_mask_folder(name):
                    image = by_stem.get(candidate, "")
                if image and image != name:
                    return image
    return by_stem.get(stem, "") if _in_mask_folder(name) else ""


def _in_mask_folder(name: str) -> bool:
    return any(_MASK_FOLDER.fullmatch(part) for part in name.split("/")[1:-1])
