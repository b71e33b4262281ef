"""Annotations in YOLO format: a folder with one .txt per image, and a file that names the classes."""

import json
import math
from pathlib import Path

from dinocli.data.annotated_images import AnnotatedImage, AnnotatedObject, Annotations, files_below, reason_of
from dinocli.data.text_tables import decode_text, is_utf8
from dinocli.errors import DataError

_MARGIN = 0.1  # fraction of a side by which boxes may exceed the image; some tools write such boxes
_CLASS_NAME_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names", "notes.json")
NO_LABEL_FILES = {
    "classes.txt",
    "readme.txt",
    "readme.roboflow.txt",
    "readme.dataset.txt",
    "train.txt",
    "val.txt",
    "test.txt",
}


def read_yolo(folder: Path) -> Annotations:
    """Read the label files of a folder; boxes and polygons are fractions of the image sides.

    Raises:
        DataError: A file cannot be read; with file and reason.
    """
    names = _yolo_names(folder)
    images = []
    for file in files_below(folder):
        if file.suffix.lower() != ".txt" or file.name.lower() in NO_LABEL_FILES:
            continue
        try:
            lines = [line.split() for line in _text(file).splitlines()]
            objects = tuple(_yolo_object(line, names) for line in lines if line)
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read as YOLO ({reason_of(error)}); export it again") from None
        images.append(AnnotatedImage(file.relative_to(folder).with_suffix("").as_posix(), objects))
    numbers = sorted({annotated.category for image in images for annotated in image.objects})
    known = names or {number: number for number in numbers}
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
        for name in _CLASS_NAME_FILES:
            path = place / name
            if path.is_file():
                try:
                    return _names_in(path)
                except (OSError, ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{path} does not name the classes ({reason_of(error)}); correct it") from None
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


def _text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark."""
    text = decode_text(path.read_bytes())
    if not is_utf8(text):
        raise ValueError("it is not UTF-8")
    return text
