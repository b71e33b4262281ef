"""Annotations in COCO (one JSON file), YOLO (a folder of .txt) and Pascal VOC (a folder of .xml) format.

CVAT, Label Studio, FiftyOne and Roboflow export them. They give image labels and masks.
"""

import json
import math
import os
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import Any

from dinocli.data.annotated_images import AnnotatedImage, AnnotatedObject, Annotations, files_below, reason_of
from dinocli.data.yolo_annotations import NO_LABEL_FILES, read_yolo
from dinocli.errors import DataError

MAX_BYTES = 1 << 30
"""Maximum size of a COCO file; 100,000 images with polygons take half of it."""


def annotation_kind(path: Path) -> str:
    """Return the annotation format at a path: coco, yolo, voc, or empty for none of them."""
    if path.is_file():
        return "coco" if path.suffix.lower() == ".json" else ""
    if path.is_dir():
        for file in files_below(path):
            if file.suffix.lower() == ".xml":
                return "voc"
            if file.suffix.lower() == ".txt" and file.name.lower() not in NO_LABEL_FILES:
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
    return {"coco": _read_coco, "yolo": read_yolo, "voc": _read_voc}[kind](path)


def image_categories(annotations: Annotations) -> tuple[dict[str, str], list[str]]:
    """Assign each image one class: that of its objects; of several, the class with the largest total box area.

    Returns:
        Class by image name, for images with an object; and sentences about assumptions.
    """
    class_of, several, empty = {}, 0, 0
    for image in annotations.images:
        areas: defaultdict[str, float] = defaultdict(float)
        for annotated in image.objects:
            areas[annotated.category] += annotated.area
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


def _read_coco(path: Path) -> Annotations:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
        data = json.loads(path.read_bytes())
        names = {entry["id"]: str(entry["name"]) for entry in data["categories"]}
        objects: dict[Any, list[AnnotatedObject]] = {entry["id"]: [] for entry in data["images"]}
        for entry in data.get("annotations", []):
            objects[entry["image_id"]].append(_coco_object(entry, names))
        entries = data["images"]
        images = tuple(AnnotatedImage(str(entry["file_name"]), tuple(objects[entry["id"]])) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as COCO ({reason_of(error)}); export it again") from None
    return Annotations("coco", images, tuple(names.values()))


def _coco_object(entry: dict[str, Any], names: dict[Any, str]) -> AnnotatedObject:
    shape = entry.get("segmentation") or []
    lists = shape if isinstance(shape, list) else []
    polygons = tuple(tuple(map(float, numbers)) for numbers in lists if len(numbers) >= 6)
    box = tuple(map(float, entry.get("bbox") or ()))
    if len(box) not in (0, 4):
        raise ValueError(f"a box of {len(box)} numbers")
    if not all(map(math.isfinite, box)):
        raise ValueError(f"a box of {box}")
    if not all(math.isfinite(value) for polygon in polygons for value in polygon):
        raise ValueError("a polygon that is not finite")
    return AnnotatedObject(names[entry["category_id"]], box, polygons, dict(shape) if isinstance(shape, dict) else {})


def _read_voc(folder: Path) -> Annotations:
    images, categories = [], set()
    for file in files_below(folder):
        if file.suffix.lower() != ".xml":
            continue
        try:
            root = ElementTree.parse(file).getroot()
            if root.tag != "annotation":
                continue
            objects = tuple(map(_voc_object, root.iter("object")))
        except (OSError, ValueError, ElementTree.ParseError) as error:
            raise DataError(f"{file} cannot be read as Pascal VOC ({reason_of(error)}); export it again") from None
        file_name = os.path.basename((root.findtext("filename") or "").strip()) or file.stem
        name = (file.parent / file_name).relative_to(folder).as_posix()
        images.append(AnnotatedImage(name, objects))
        categories |= {annotated.category for annotated in objects}
    return Annotations("voc", tuple(images), tuple(sorted(categories)))


def _voc_object(element: ElementTree.Element) -> AnnotatedObject:
    """Parse an object; VOC boxes count pixels from 1 and include xmax and ymax."""
    name, box = element.findtext("name"), element.find("bndbox")
    if not name:
        raise ValueError("an object without a name")
    if box is None:
        return AnnotatedObject(name)
    left, top, right, bottom = (float(box.findtext(key) or "nan") for key in ("xmin", "ymin", "xmax", "ymax"))
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise ValueError(f"a box of {name} without numbers")
    left, top = max(0.0, left - 1), max(0.0, top - 1)
    return AnnotatedObject(name, (left, top, right - left, bottom - top))
