"""Writers of segmentation results: CSV tables, COCO JSON and YOLO text.

Records are streamed from a log on disk, once for each section of a file: the run lengths of many large images would not
fit in memory.
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dinocli.data.text_tables import write_table
from dinocli.files import atomic_file
from dinocli.segmentation.regions import ImageRecord
from dinocli.segmentation.segment_images import BLANK

COLUMNS = ("image", "mask", "segment", "category", "score", "area", "area_fraction", "left", "top", "width", "height")
GROUP_COLUMNS = ("group", "images", "score", "good", "image", "not_judged")


def category_names(labels: Iterable[int], name: str) -> dict[int, str]:
    """Return the category name of each label: `name` if 1 is the only label, else `name 1`, `name 2`, ..."""
    ordered = sorted(set(labels))
    return {label: name if ordered == [1] else f"{name} {label}" for label in ordered}


def write_segments_csv(path: Path, records: Iterable[ImageRecord], names: dict[int, str]) -> None:
    """Write one row per region, and one row with segment 0 for an image without regions.

    Columns: `COLUMNS`, `image_score`, `empty_reason` and the metrics of the method. Boxes are in pixels of the upright
    image; `area_fraction` is the area of the region divided by the area of the image.
    """
    metrics = sorted({key for record in records for key in record.metrics})
    rows = (row for record in records for row in _rows(record, names, metrics))
    write_table(path, [*COLUMNS, "image_score", "empty_reason", *metrics], rows)


def write_groups(
    path: Path, groups: Mapping[str, str], records: Iterable[ImageRecord], unreadable: Collection[str] = ()
) -> dict[str, int]:
    """Write one row per group of images, defective groups first, then by score; images without a group are left out.

    A group is defective (`good` is 0) if one of its images has a region; its score is the maximum of these, else of all
    its images. A group with an unreadable or blank image and no defective one is not known to be good: `good` is empty.

    Args:
        path: Output file.
        groups: Group of each image.
        records: Of the readable images.
        unreadable: Names of the unreadable images.

    Returns:
        The number of groups, of good groups, and of those not known.
    """
    records_of: dict[str, list[ImageRecord]] = {groups[name]: [] for name in unreadable if name in groups}
    missing = Counter(groups[name] for name in unreadable if name in groups)
    for record in records:
        if record.image in groups:
            group = groups[record.image]
            records_of.setdefault(group, []).append(record)
            missing[group] += record.empty_reason == BLANK
    rows = []
    for group, images in records_of.items():
        worst = max(images, key=lambda record: (bool(record.regions), record.score), default=None)
        good = 0 if worst and worst.regions else None if missing[group] else 1
        rows.append((group, len(images), worst.score if worst else math.nan, good, worst.image if worst else ""))
    rows.sort(key=lambda row: ((0, None, 1).index(row[3]), -row[2], row[0]))
    cells = (
        (group, count, "" if math.isnan(score) else f"{score:.6g}", "" if good is None else good, image, missing[group])
        for group, count, score, good, image in rows
    )
    write_table(path, GROUP_COLUMNS, cells)
    verdicts = [row[3] for row in rows]
    return {"groups": len(rows), "good": verdicts.count(1), "unknown": verdicts.count(None)}


def write_coco(path: Path, records: Iterable[ImageRecord], names: dict[int, str], *, as_polygons: bool) -> None:
    """Write one COCO file for all images.

    Args:
        path: Output file.
        records: Records with run lengths, or with outlines if `as_polygons`.
        names: Category name of each label.
        as_polygons: Write polygons, which most tools can edit but which fill holes; otherwise run lengths, which are
            exact.
    """
    images = (
        {"id": number, "file_name": record.image[2:], "height": record.height, "width": record.width}
        for number, record in enumerate(records, start=1)
    )
    annotations = (
        {"id": number, **fields} for number, fields in enumerate(_annotations(records, as_polygons), start=1)
    )
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
    """Return the lines of one image in YOLO segmentation format: `class x y x y ...`, as fractions of width and height.

    Class numbers start at 0, labels at 1. The record needs outlines.
    """
    lines = []
    for region in record.regions:
        for outline in region.outlines:
            fractions = [value / (record.height if index % 2 else record.width) for index, value in enumerate(outline)]
            lines.append(" ".join([str(region.label - 1), *(f"{value:.6g}" for value in fractions)]) + "\n")
    return "".join(lines)


def _rows(record: ImageRecord, names: dict[int, str], metrics: Sequence[str]) -> Iterator[list[Any]]:
    image_columns = [f"{record.score:.6g}", record.empty_reason, *(_metric(record, key) for key in metrics)]
    for region in record.regions:
        fraction = region.area / (record.height * record.width)
        numbers = [f"{region.score:.6g}", region.area, f"{fraction:.6g}", *region.box]
        yield [record.image, record.mask, region.label, names[region.label], *numbers, *image_columns]
    if not record.regions:
        yield [record.image, record.mask, 0, "", "", 0, 0, "", "", "", "", *image_columns]


def _metric(record: ImageRecord, key: str) -> str:
    return f"{record.metrics[key]:.6g}" if key in record.metrics else ""


def _annotations(records: Iterable[ImageRecord], as_polygons: bool) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(records, start=1):
        for region in record.regions:
            rle = {"size": [record.height, record.width], "counts": list(region.counts)}
            yield {
                "image_id": number,
                "category_id": region.label,
                "segmentation": [list(outline) for outline in region.outlines] if as_polygons else rle,
                "area": region.area,
                "bbox": list(region.box),
                "iscrowd": 0,
                "score": region.score,
            }
