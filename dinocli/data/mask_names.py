"""Masks that lie beside their images, recognised by name: `img_0.png` and `img_0_mask.png`, `images/` and `masks/`."""

import posixpath
import re
from collections.abc import Sequence

_WORDS = "masks?|labels?|seg|segm|segmentations?|annotations?|annot|instances?|gt|ground_?truth|truth"
_MASK_STEM = re.compile(rf"(?P<stem>.+?)[ ._-]+(?:cp[ ._-]?)?(?:{_WORDS})(?:[ ._-]?\d{{1,3}})?", re.IGNORECASE)
_MASK_FIRST = re.compile(rf"(?:{_WORDS})[ ._-]+(?P<stem>.+)", re.IGNORECASE)
_MASK_FOLDER = re.compile(
    rf"(?:.*[ ._-])?(?:{_WORDS})(?:[ ._-].*)?|segmentation(?:class|object)|masks?\d*", re.IGNORECASE
)
_ANY = re.compile(f"{_WORDS}|segmentation", re.IGNORECASE)


def mask_names(names: Sequence[str]) -> dict[str, str]:
    """Find the images whose names say that they are masks of other images in the list.

    A name counts only where its image is listed too: `face_mask.png` alone is an image.

    Args:
        names: As `./a/b.png`.

    Returns:
        Name of each mask -> name of its image, in the order of the names.
    """
    suspects = [name for name in names if _ANY.search(name)]
    if not suspects:
        return {}
    images = {posixpath.splitext(name)[0]: name for name in reversed(names)}
    by_stem = {posixpath.basename(stem): name for stem, name in images.items() if not _in_mask_folder(name)}
    found = {name: _image_of(name, images, by_stem) for name in suspects}
    return {name: image for name, image in found.items() if image and not found.get(image)}


def _image_of(name: str, images: dict[str, str], by_stem: dict[str, str]) -> str:
    folder, file = posixpath.split(name)
    stem = posixpath.splitext(file)[0]
    for pattern in (_MASK_STEM, _MASK_FIRST):
        match = pattern.fullmatch(stem)
        if match:
            own = match["stem"]  # a mask may keep its image's ending: `img_0.jpg_mask.png`
            for candidate in (own, posixpath.splitext(own)[0]):
                image = images.get(posixpath.join(folder, candidate), "")
                if not image and _in_mask_folder(name):
                    image = by_stem.get(candidate, "")
                if image and image != name:
                    return image
    return by_stem.get(stem, "") if _in_mask_folder(name) else ""


def _in_mask_folder(name: str) -> bool:
    return any(_MASK_FOLDER.fullmatch(part) for part in name.split("/")[1:-1])
