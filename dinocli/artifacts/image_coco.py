"""Image-level labels as a COCO file, for FiftyOne, CVAT, Label Studio and other tools that read COCO."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocli.data.decode import image_size
from dinocli.data.region_of_interest import Box
from dinocli.errors import DataError, UsageError, counted
from dinocli.files import write_atomic
from dinocli.progress import ProgressReporter


@dataclass(frozen=True)
class ImageTag:
    """A label of an image or a tile.

    Args:
        row: Index of the image or tile.
        category: COCO category: a class, a cluster, `duplicate` or `suggested`.
        score: Confidence, 0 to 1.
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
    """Write a COCO file with one box annotation for each tag: the whole image, or its tile.

    COCO has no image-level classes, and every tool reads boxes.

    Args:
        path: Output file.
        root: Folder of the images; their headers are read for the sizes.
        names: Image of each row.
        tags: Labels to write.
        boxes: Tile of each row; None if rows are whole images.
        reporter: Receives a warning about unreadable images, which are left out.

    Raises:
        UsageError: The folder of the images is unknown or missing.
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
        reporter.warn(f"{counted(len(bad), 'image')} left out of the COCO file, since they cannot be read: {bad[0]}")
    image_ids = {name: image_id for image_id, name in enumerate(sizes, start=1)}
    category_ids = {name: category_id for category_id, name in enumerate(sorted({tag.category for tag in tags}), 1)}
    images = [
        {"id": image_ids[name], "file_name": name.removeprefix("./"), "height": height, "width": width}
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
                "image_id": image_ids[name],
                "category_id": category_ids[tag.category],
                "bbox": box,
                "area": box[2] * box[3],
                "segmentation": [_outline(box)],
                "iscrowd": 0,
                "score": round(tag.score, 6),
            }
        )
    categories = [{"id": category_id, "name": name} for name, category_id in category_ids.items()]
    data = {"images": images, "categories": categories, "annotations": annotations}
    write_atomic(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def _outline(box: Sequence[float]) -> list[float]:
    """Return a box as a polygon; many readers skip annotations without a segmentation."""
    left, top, width, height = box
    return [left, top, left + width, top, left + width, top + height, left, top + height]
