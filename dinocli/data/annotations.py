"""Annotations in COCO (one JSON file), YOLO (a folder of .txt) and Pascal VOC (a folder of .xml) format.

CVAT, Label Studio, FiftyOne and Roboflow export them. They give image labels and masks.
"""

import json
import math
import os
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinocli.data.text_tables import decode_text, is_utf8
from dinocli.errors import DataError

MAX_BYTES = 1 << 30
"""Maximum size of a COCO file; 100,000 images with polygons take half of it."""

_MARGIN = 0.1  # fraction of a side by which boxes may exceed the image; some tools write such boxes
_YOLO_NAMES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names", "notes.json")
_NO_LABEL_FILES = {
    "classes.txt",
    "readme.txt",
    "readme.roboflow.txt",
    "readme.dataset.txt",
    "train.txt",
    "val.txt",
    "test.txt",
}


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
        kind: coco, yolo or voc.
        images: All annotated images.
        categories: Class names in the order of the file.
        relative: Boxes and polygons are fractions of the image sides, not pixels.
    """

    kind: str
    images: tuple[AnnotatedImage, ...]
    categories: tuple[str, ...]
    relative: bool = False


def annotation_kind(path: Path) -> str:
    """Return the annotation format at a path: coco, yolo, voc, or empty for none of them."""
    if path.is_file():
        return "coco" if path.suffix.lower() == ".json" else ""
    if path.is_dir():
        for file in _files(path):
            if file.suffix.lower() == ".xml":
                return "voc"
            if file.suffix.lower() == ".txt" and file.name.lower() not in _NO_LABEL_FILES:
                return "yolo"
    return ""


def read_annotations(path: Path) -> Annotations:
    """Read COCO, YOLO or Pascal VOC annotations.

    Raises:
        DataError: The annotations cannot be read; with file and reason.
    """
    kind = annotation_kind(path)
    if not kind:
        raise DataError(f"{path} holds no annotations: give a COCO .json, or a folder of YOLO .txt or VOC .xml")
    return {"coco": _read_coco, "yolo": _read_yolo, "voc": _read_voc}[kind](path)


def image_categories(annotations: Annotations) -> tuple[dict[str, str], list[str]]:
    """Assign each image one class: that of its objects; of several, the class with the largest total box area.

    Returns:
        Class by image name, for images with an object; and sentences about assumptions.
    """
    class_of, several, empty = {}, 0, 0
    for image in annotations.images:
        areas: defaultdict[str, float] = defaultdict(float)
        for one in image.objects:
            areas[one.category] += one.area
        if areas:
            class_of[image.name] = max(areas, key=lambda name: (areas[name], name))
        several += len(areas) > 1
        empty += not areas
    notes = []
    if several:
        notes.append(f"{several:,} images have objects of several classes; the label is the one that covers most")
    if empty:
        notes.append(f"{empty:,} images have no object, and so no label; if they are good, say so in a CSV")
    return class_of, notes


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


def _read_coco(path: Path) -> Annotations:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
        data = json.loads(path.read_bytes())
        names = {entry["id"]: str(entry["name"]) for entry in data["categories"]}
        objects: dict[Any, list[AnnotatedObject]] = {entry["id"]: [] for entry in data["images"]}
        for entry in data.get("annotations", []):
            objects[entry["image_id"]].append(_coco_object(entry, names))
        images = tuple(AnnotatedImage(str(one["file_name"]), tuple(objects[one["id"]])) for one in data["images"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as COCO ({_reason(error)}); export it again") from None
    return Annotations("coco", images, tuple(names.values()))


def _coco_object(entry: dict[str, Any], names: dict[Any, str]) -> AnnotatedObject:
    shape = entry.get("segmentation") or []
    polygons = tuple(tuple(map(float, one)) for one in shape if len(one) >= 6) if isinstance(shape, list) else ()
    box = tuple(map(float, entry.get("bbox") or ()))
    if len(box) not in (0, 4):
        raise ValueError(f"a box of {len(box)} numbers")
    if not all(map(math.isfinite, box)):
        raise ValueError(f"a box of {box}")
    if not all(math.isfinite(value) for one in polygons for value in one):
        raise ValueError("a polygon that is not finite")
    return AnnotatedObject(names[entry["category_id"]], box, polygons, dict(shape) if isinstance(shape, dict) else {})


def _read_yolo(folder: Path) -> Annotations:
    names = _yolo_names(folder)
    images = []
    for file in _files(folder):
        if file.suffix.lower() != ".txt" or file.name.lower() in _NO_LABEL_FILES:
            continue
        try:
            lines = [line.split() for line in _text(file).splitlines()]
            objects = tuple(_yolo_object(line, names) for line in lines if line)
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read as YOLO ({_reason(error)}); export it again") from None
        images.append(AnnotatedImage(file.relative_to(folder).with_suffix("").as_posix(), objects))
    known = names or {number: number for number in sorted({one.category for image in images for one in image.objects})}
    return Annotations("yolo", tuple(images), tuple(known.values()), relative=True)


def _yolo_object(words: list[str], names: dict[str, str]) -> AnnotatedObject:
    """Parse `class x y width height` (x, y is the centre), or `class x y x y x y ...` (a polygon)."""
    number, values = words[0], [float(word) for word in words[1:]]
    if not number.isdecimal() or not all(map(math.isfinite, values)):
        raise ValueError(f"the line {' '.join(words)[:60]!r}")
    if values and not (min(values) > -_MARGIN and max(values) < 1 + _MARGIN):
        raise ValueError(f"the line {' '.join(words)[:60]!r}: numbers are fractions of the sides, from 0 to 1")
    category = names.get(number, number)
    if len(values) in (4, 5):  # five: with a confidence
        x, y, width, height = values[:4]
        return AnnotatedObject(category, (x - width / 2, y - height / 2, width, height))
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"a line of {len(values)} numbers")
    left, top = min(values[::2]), min(values[1::2])
    box = (left, top, max(values[::2]) - left, max(values[1::2]) - top)
    return AnnotatedObject(category, box, (tuple(values),))


def _yolo_names(folder: Path) -> dict[str, str]:
    """Read the class names from the folder or one of the two above it; empty without a names file."""
    for place in (folder, folder.parent, folder.parent.parent):
        for name in _YOLO_NAMES:
            path = place / name
            if path.is_file():
                try:
                    return _names_in(path)
                except (OSError, ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{path} does not name the classes ({_reason(error)}); correct it") from None
    return {}


def _names_in(path: Path) -> dict[str, str]:
    text = _text(path)
    if path.suffix == ".yaml":
        import yaml

        try:
            names = yaml.safe_load(text)["names"]
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from None
    elif path.suffix == ".json":  # Label Studio's notes.json
        names = {entry["id"]: entry["name"] for entry in json.loads(text)["categories"]}
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    return {str(number): str(name) for number, name in pairs}


def _read_voc(folder: Path) -> Annotations:
    images, categories = [], set()
    for file in _files(folder):
        if file.suffix.lower() != ".xml":
            continue
        try:
            root = ElementTree.parse(file).getroot()
            if root.tag != "annotation":
                continue
            objects = tuple(_voc_object(one) for one in root.iter("object"))
        except (OSError, ValueError, ElementTree.ParseError) as error:
            raise DataError(f"{file} cannot be read as Pascal VOC ({_reason(error)}); export it again") from None
        file_name = os.path.basename((root.findtext("filename") or "").strip()) or file.stem
        name = (file.parent / file_name).relative_to(folder).as_posix()
        images.append(AnnotatedImage(name, objects))
        categories |= {one.category for one in objects}
    return Annotations("voc", tuple(images), tuple(sorted(categories)))


def _voc_object(one: ElementTree.Element) -> AnnotatedObject:
    """Parse an object; VOC boxes count pixels from 1 and include xmax and ymax."""
    name, box = one.findtext("name"), one.find("bndbox")
    if not name:
        raise ValueError("an object without a name")
    if box is None:
        return AnnotatedObject(name)
    left, top, right, bottom = (float(box.findtext(key) or "nan") for key in ("xmin", "ymin", "xmax", "ymax"))
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise ValueError(f"a box of {name} without numbers")
    left, top = max(0.0, left - 1), max(0.0, top - 1)
    return AnnotatedObject(name, (left, top, right - left, bottom - top))


def _text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark."""
    text = decode_text(path.read_bytes())
    if not is_utf8(text):
        raise ValueError("it is not UTF-8")
    return text


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r}"
    return " ".join(str(error).split())[:160] or type(error).__name__
