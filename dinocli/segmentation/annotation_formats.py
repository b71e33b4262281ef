"""Records into the files that other tools read: CSV, COCO, YOLO.

Records come from a log on the disk and are read once for each part of a file, so that none has to fit the memory: the
run lengths of many large images would not.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dinocli.data.text_tables import write_table
from dinocli.files import atomic_file
from dinocli.segmentation.regions import ImageRecord

COLUMNS = ("image", "mask", "segment", "category", "score", "area", "area_fraction", "left", "top", "width", "height")


def category_names(labels: Iterable[int], name: str) -> dict[int, str]:
    """Return a name for every label: `anomaly` for label 1 alone, else `segment 1`, `segment 2`."""
    ordered = sorted(set(labels))
    return {label: name if ordered == [1] else f"{name} {label}" for label in ordered}


def write_segments_csv(path: Path, records: Iterable[ImageRecord], names: dict[int, str]) -> None:
    """Write one row a region, and one row with segment 0 for an empty image.

    Columns: `COLUMNS`, then the image's own score, why it is empty, and the metrics of the method. Boxes are in pixels
    of the upright image; `area_fraction` is the area of the region divided by that of the image.
    """
    metrics = sorted({key for record in records for key in record.metrics})
    rows = (row for record in records for row in _rows(record, names, metrics))
    write_table(path, [*COLUMNS, "image_score", "empty_reason", *metrics], rows)


def write_coco(path: Path, records: Iterable[ImageRecord], names: dict[int, str], *, as_polygons: bool) -> None:
    """Write one COCO file for all images.

    Args:
        path: Of the file.
        records: Made with run lengths, or with outlines for polygons.
        names: Category of each label.
        as_polygons: Polygons, which most tools edit, but which cover holes; otherwise run lengths, which are exact.
    """
    images = (
        {"id": number, "file_name": record.image[2:], "height": record.height, "width": record.width}
        for number, record in enumerate(records, start=1)
    )
    annotations = ({"id": number, **one} for number, one in enumerate(_annotations(records, as_polygons), start=1))
    categories = ({"id": label, "name": name} for label, name in names.items())
    with atomic_file(path) as file:
        parts = (("{", "images", images), (",", "categories", categories), (",", "annotations", annotations))
        for opening, key, entries in parts:
            file.write(f'{opening}"{key}":['.encode())
            for number, entry in enumerate(entries):
                compact = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
                file.write(f"{',' if number else ''}\n{compact}".encode())
            file.write(b"]")
        file.write(b"}\n")


def yolo_lines(record: ImageRecord) -> str:
    """Return the text of one image for YOLO's segmentation format: `class x y x y ...`, as shares of the image.

    Class numbers begin at 0, labels at 1. The record has to be made with outlines.
    """
    lines = []
    for found in record.regions:
        for outline in found.outlines:
            shares = [value / (record.height if place % 2 else record.width) for place, value in enumerate(outline)]
            lines.append(" ".join([str(found.label - 1), *(f"{share:.6g}" for share in shares)]) + "\n")
    return "".join(lines)


def _rows(record: ImageRecord, names: dict[int, str], metrics: Sequence[str]) -> Iterator[list[Any]]:
    ending = [f"{record.score:.6g}", record.empty_reason, *(_metric(record, key) for key in metrics)]
    for found in record.regions:
        fraction = found.area / (record.height * record.width)
        numbers = [f"{found.score:.6g}", found.area, f"{fraction:.6g}", *found.box]
        yield [record.image, record.mask, found.label, names[found.label], *numbers, *ending]
    if not record.regions:
        yield [record.image, record.mask, 0, "", "", 0, 0, "", "", "", "", *ending]


def _metric(record: ImageRecord, key: str) -> str:
    return f"{record.metrics[key]:.6g}" if key in record.metrics else ""


def _annotations(records: Iterable[ImageRecord], as_polygons: bool) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(records, start=1):
        for found in record.regions:
            runs = {"size": [record.height, record.width], "counts": list(found.counts)}
            yield {
                "image_id": number,
                "category_id": found.label,
                "segmentation": [list(outline) for outline in found.outlines] if as_polygons else runs,
                "area": found.area,
                "bbox": list(found.box),
                "iscrowd": 0,
                "score": found.score,
            }
