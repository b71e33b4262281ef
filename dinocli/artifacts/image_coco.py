"""What is said of whole images, as a COCO file: for FiftyOne, CVAT, Label Studio and whatever else reads COCO."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocli.artifacts.feature_file import Box
from dinocli.data.decode import image_size
from dinocli.errors import DataError, UsageError
from dinocli.files import write_whole
from dinocli.progress import ProgressReporter


@dataclass(frozen=True)
class ImageTag:
    """One thing that is said of an image.

    Args:
        row: Of the image, or the tile.
        category: What it is: a class, a group, `duplicate`, `suggested`.
        score: How sure that is, 0 to 1.
    """

    row: int
    category: str
    score: float = 1.0


def write_image_coco(
    path: Path,
    root: str,
    names: Sequence[str],
    tags: Sequence[ImageTag],
    *,
    boxes: Sequence[Box] | None = None,
    reporter: ProgressReporter,
) -> None:
    """Write a COCO file whose annotations are boxes around whole images, or around tiles.

    COCO has no classes of images, and every tool reads boxes.

    Args:
        path: Of the file.
        root: Folder of the images, whose headers are read for their sizes.
        names: Image of each row; rows of one name are tiles of it.
        tags: What is said of them.
        boxes: Tile of each row, or None.
        reporter: Hears of images that cannot be read; they are left out.

    Raises:
        UsageError: The folder of the images is not known, or not there.
    """
    if not root or not Path(root).is_dir():
        raise UsageError("--coco needs the sizes of the images, and these features do not say where the images lie")
    sizes: dict[str, tuple[int, int]] = {}
    bad = []
    for name in dict.fromkeys(names):
        try:
            sizes[name] = image_size(Path(root, name))
        except DataError as error:
            bad.append(f"{name}: {error}")
    if bad:
        reporter.warn(f"{len(bad)} images are not in {path}: {bad[0]}")
    number = {name: place for place, name in enumerate(sizes, start=1)}
    categories = {name: place for place, name in enumerate(sorted({tag.category for tag in tags}), start=1)}
    images = [
        {"id": number[name], "file_name": name.removeprefix("./"), "height": height, "width": width}
        for name, (height, width) in sizes.items()
    ]
    annotations: list[dict[str, Any]] = []
    for tag in tags:
        name = names[tag.row]
        if name not in sizes:
            continue
        height, width = sizes[name]
        box = list(boxes[tag.row]) if boxes else [0, 0, width, height]
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": number[name],
                "category_id": categories[tag.category],
                "bbox": box,
                "area": box[2] * box[3],
                "segmentation": [_outline(box)],
                "iscrowd": 0,
                "score": round(tag.score, 6),
            }
        )
    named = [{"id": place, "name": name} for name, place in categories.items()]
    data = {"images": images, "categories": named, "annotations": annotations}
    write_whole(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def _outline(box: Sequence[float]) -> list[float]:
    """Return a box as a polygon: many readers skip annotations without one."""
    left, top, width, height = box
    return [left, top, left + width, top, left + width, top + height, left, top + height]
