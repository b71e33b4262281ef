"""Annotations of other tools: COCO (one JSON file), YOLO (a folder of .txt), Pascal VOC (a folder of .xml).

What CVAT, Label Studio, FiftyOne and Roboflow export. Read for the classes of images, and for masks.
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
"""Of a COCO file; one of a hundred thousand images with outlines holds half of that."""

_PAST = 0.1  # of a side: how far boxes of tools may lie past the image
_YOLO_NAMES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names", "notes.json")
_NOT_LABELS = {
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
    """One object, in pixels of the upright image, or in shares of its sides (YOLO).

    Args:
        category: Name of its class.
        box: Left, top, width, height; empty for a class of the whole image.
        outlines: Polygons, x and y in turn.
        runs: COCO's run lengths, `size` and `counts`; empty where there are none.
    """

    category: str
    box: tuple[float, ...] = ()
    outlines: tuple[tuple[float, ...], ...] = ()
    runs: dict[str, Any] = field(default_factory=dict)

    @property
    def area(self) -> float:
        """Area of the box."""
        return self.box[2] * self.box[3] if self.box else math.inf


@dataclass(frozen=True)
class AnnotatedImage:
    """An image that was looked at.

    Args:
        name: As the file calls it; of YOLO without an ending.
        objects: What was found; none is an answer too.
    """

    name: str
    objects: tuple[AnnotatedObject, ...]


@dataclass(frozen=True)
class Annotations:
    """A set of annotations.

    Args:
        kind: coco, yolo or voc.
        images: All that it names.
        categories: Names of the classes, in the tool's order.
        shares: Whether boxes and outlines are shares of the sides of an image.
    """

    kind: str
    images: tuple[AnnotatedImage, ...]
    categories: tuple[str, ...]
    shares: bool = False


def annotation_kind(path: Path) -> str:
    """Say which kind of annotations lies at a path: coco, yolo, voc, or empty for none of them."""
    if path.is_file():
        return "coco" if path.suffix.lower() == ".json" else ""
    if path.is_dir():
        for file in _files(path):
            if file.suffix.lower() == ".xml":
                return "voc"
            if file.suffix.lower() == ".txt" and file.name.lower() not in _NOT_LABELS:
                return "yolo"
    return ""


def read_annotations(path: Path) -> Annotations:
    """Read annotations of a known kind.

    Raises:
        DataError: They cannot be read; with file and reason.
    """
    kind = annotation_kind(path)
    if not kind:
        raise DataError(f"{path} holds no annotations: give a COCO .json, or a folder of YOLO .txt or VOC .xml")
    return {"coco": _read_coco, "yolo": _read_yolo, "voc": _read_voc}[kind](path)


def image_categories(annotations: Annotations) -> tuple[dict[str, str], list[str]]:
    """Give each image one class: that of its objects, of several the one that covers most.

    Returns:
        Class of each image that has an object, by the image's name; and sentences about what was assumed.
    """
    found, several, empty = {}, 0, 0
    for image in annotations.images:
        areas: defaultdict[str, float] = defaultdict(float)
        for one in image.objects:
            areas[one.category] += one.area
        if areas:
            found[image.name] = max(areas, key=lambda name: (areas[name], name))
        several += len(areas) > 1
        empty += not areas
    notes = []
    if several:
        notes.append(f"{several:,} images have objects of several classes; the label is the one that covers most")
    if empty:
        notes.append(f"{empty:,} images have no object, and so no label; if they are good, say so in a CSV")
    return found, notes


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
        raise DataError(f"{path} cannot be read as COCO ({_why(error)}); export it again") from None
    return Annotations("coco", images, tuple(names.values()))


def _coco_object(entry: dict[str, Any], names: dict[Any, str]) -> AnnotatedObject:
    shape = entry.get("segmentation") or []
    outlines = tuple(tuple(map(float, one)) for one in shape if len(one) >= 6) if isinstance(shape, list) else ()
    box = tuple(map(float, entry.get("bbox") or ()))
    if len(box) not in (0, 4):
        raise ValueError(f"a box of {len(box)} numbers")
    if not all(map(math.isfinite, box)):
        raise ValueError(f"a box of {box}")
    if not all(math.isfinite(value) for one in outlines for value in one):
        raise ValueError("an outline that is not finite")
    return AnnotatedObject(names[entry["category_id"]], box, outlines, dict(shape) if isinstance(shape, dict) else {})


def _read_yolo(folder: Path) -> Annotations:
    names = _yolo_names(folder)
    images = []
    for file in _files(folder):
        if file.suffix.lower() != ".txt" or file.name.lower() in _NOT_LABELS:
            continue
        try:
            lines = [line.split() for line in _text(file).splitlines()]
            objects = tuple(_yolo_object(line, names) for line in lines if line)
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read as YOLO ({_why(error)}); export it again") from None
        images.append(AnnotatedImage(file.relative_to(folder).with_suffix("").as_posix(), objects))
    known = names or {number: number for number in sorted({one.category for image in images for one in image.objects})}
    return Annotations("yolo", tuple(images), tuple(known.values()), shares=True)


def _yolo_object(words: list[str], names: dict[str, str]) -> AnnotatedObject:
    """Read `class x y width height`, about the middle, or `class x y x y x y ...`, an outline."""
    number, values = words[0], [float(word) for word in words[1:]]
    if not number.isdecimal() or not all(map(math.isfinite, values)):
        raise ValueError(f"the line {' '.join(words)[:60]!r}")
    if values and not (min(values) > -_PAST and max(values) < 1 + _PAST):
        raise ValueError(f"the line {' '.join(words)[:60]!r}: numbers are shares of the sides, from 0 to 1")
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
    """Find the names of the classes, in the folder or up to two above it; empty if there are none."""
    for place in (folder, folder.parent, folder.parent.parent):
        for name in _YOLO_NAMES:
            path = place / name
            if path.is_file():
                try:
                    return _names_in(path)
                except (OSError, ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{path} does not name the classes ({_why(error)}); correct it") from None
    return {}


def _names_in(path: Path) -> dict[str, str]:
    text = _text(path)
    if path.suffix == ".yaml":
        import yaml

        try:
            found = yaml.safe_load(text)["names"]
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from None
    elif path.suffix == ".json":  # of Label Studio
        found = {entry["id"]: entry["name"] for entry in json.loads(text)["categories"]}
    else:
        found = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
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
            raise DataError(f"{file} cannot be read as Pascal VOC ({_why(error)}); export it again") from None
        own = os.path.basename((root.findtext("filename") or "").strip()) or file.stem
        name = (file.parent / own).relative_to(folder).as_posix()
        images.append(AnnotatedImage(name, objects))
        categories |= {one.category for one in objects}
    return Annotations("voc", tuple(images), tuple(sorted(categories)))


def _voc_object(one: ElementTree.Element) -> AnnotatedObject:
    """Read an object; VOC counts pixels from 1, and its last one belongs to the box."""
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
    """Read a file with or without a byte order mark, which Windows puts before UTF-8."""
    text = decode_text(path.read_bytes())
    if not is_utf8(text):
        raise ValueError("it is not UTF-8")
    return text


def _why(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r}"
    return " ".join(str(error).split())[:160] or type(error).__name__
