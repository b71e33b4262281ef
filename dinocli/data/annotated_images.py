"""Annotated images and objects, independent of the annotation format."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinocli.stored import reason


@dataclass(frozen=True)
class AnnotatedObject:
    """One annotated object, in pixels of the upright image, or in fractions of its sides (YOLO).

    Args:
        category: Class name.
        box: Left, top, width, height; empty if the class applies to the whole image.
        polygons: Each x, y, x, y, ...
        rle: COCO run-length encoding with `size` and `counts`; empty if there is none.
    """

    category: str
    box: tuple[float, ...] = ()
    polygons: tuple[tuple[float, ...], ...] = ()
    rle: dict[str, Any] = field(default_factory=dict)

    @property
    def area(self) -> float:
        """Area of the box; infinite without a box."""
        return self.box[2] * self.box[3] if self.box else math.inf


@dataclass(frozen=True)
class AnnotatedImage:
    """One annotated image.

    Args:
        name: Name in the annotation file; in YOLO without a suffix.
        objects: Annotated objects; may be empty.
    """

    name: str
    objects: tuple[AnnotatedObject, ...]


@dataclass(frozen=True)
class Annotations:
    """Annotations of a dataset.

    Args:
        kind: coco, yolo, voc or table.
        images: All annotated images.
        categories: Class names in the order of the file.
        relative: Boxes and polygons are fractions of the image sides, not pixels.
    """

    kind: str
    images: tuple[AnnotatedImage, ...]
    categories: tuple[str, ...]
    relative: bool = False


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files of a folder and its subfolders, sorted."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


def reason_of(error: BaseException) -> str:
    """Return why annotations cannot be read; a `KeyError` names a missing key."""
    return f"no {error.args[0]!r}" if isinstance(error, KeyError) else reason(error)
