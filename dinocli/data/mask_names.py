"""Recognise masks among images by name: `img_0_mask.png` of `img_0.png`, `masks/` beside `images/`."""

import posixpath
import re
from collections.abc import Sequence

_WORDS = "masks?|labels?|seg|segm|segmentations?|annotations?|annot|instances?|gt|ground_?truth|truth"
_MASK_SUFFIX = re.compile(rf"(?P<stem>.+?)[ ._-]+(?:cp[ ._-]?)?(?:{_WORDS})(?:[ ._-]?\d{{1,3}})?", re.IGNORECASE)
_MASK_PREFIX = re.compile(rf"(?:{_WORDS})[ ._-]+(?P<stem>.+)", re.IGNORECASE)
_MASK_FOLDER = re.compile(
    rf"(?:.*[ ._-])?(?:{_WORDS})(?:[ ._-].*)?|segmentation(?:class|object)|masks?\d*", re.IGNORECASE
)
_ANY_WORD = re.compile(f"{_WORDS}|segmentation", re.IGNORECASE)


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


def _image_of(name: str, images: dict[str, str], by_stem: dict[str, str]) -> str:
    folder, file = posixpath.split(name)
    stem = posixpath.splitext(file)[0]
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
