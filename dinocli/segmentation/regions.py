"""What was found in one image, as plain rows: label, area, box, score, and the outline for annotation tools.

Convention: boxes are (left, top, width, height) in pixels of the upright image.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy import ndimage

from dinocli.data.region_of_interest import Box
from dinocli.segmentation.outlines import Polygon, polygons, run_lengths


@dataclass(frozen=True)
class Region:
    """One found thing.

    Args:
        label: Its value in the label map.
        box: Around it.
        mask_hw: Inside the box.
        score: Mean of the soft map over it, 0 to 1.
    """

    label: int
    box: Box
    mask_hw: NDArray[np.bool_]
    score: float

    @property
    def area(self) -> int:
        """Pixels."""
        return int(np.count_nonzero(self.mask_hw))

    def counts(self, shape: tuple[int, int]) -> list[int]:
        """Return its run lengths in an image of that (height, width)."""
        return run_lengths(self.mask_hw, offset=(self.box[1], self.box[0]), shape=shape)

    def outlines(self) -> list[Polygon]:
        """Return its polygons in pixels of the image."""
        return [corners + self.box[:2] for corners in polygons(self.mask_hw)]


def find_regions(labels_HW: NDArray[np.uint16], soft_HW: NDArray[np.float32], *, connected: bool) -> Iterator[Region]:
    """Yield what a label map holds, in the order of labels, then from the top.

    Args:
        labels_HW: 0 is nothing.
        soft_HW: For the scores.
        connected: Every part that hangs together (by sides of pixels) is one region: a defect, an object. Otherwise all
            pixels of a label are one: a segment of the folder is in many places.
    """
    for number, around in enumerate(ndimage.find_objects(labels_HW), start=1):
        if around is None:
            continue
        mine = labels_HW[around] == number
        parts, _ = ndimage.label(mine) if connected else (mine.astype(np.int32), 1)
        for part, inner in enumerate(ndimage.find_objects(parts), start=1):
            mask = parts[inner] == part
            top, left = (whole.start + own.start for whole, own in zip(around, inner, strict=True))
            score = float(soft_HW[around][inner][mask].mean())
            yield Region(number, (left, top, mask.shape[1], mask.shape[0]), mask, score)


def without_specks(labels_HW: NDArray[np.uint16], smallest: int) -> NDArray[np.uint16]:
    """Return the label map without parts of fewer pixels than that: smaller than what the network can tell apart."""
    if smallest <= 1:
        return labels_HW
    cleaned = labels_HW.copy()
    for number in np.unique(labels_HW[labels_HW > 0]):
        parts, count = ndimage.label(labels_HW == number)
        small = np.bincount(parts.reshape(-1), minlength=count + 1) < smallest
        small[0] = False
        cleaned[small[parts]] = 0
    return cleaned


@dataclass(frozen=True)
class RegionRecord:
    """One region, without its pixels.

    Args:
        label: Its value in the label map.
        area: Pixels.
        box: Left, top, width, height.
        score: Mean of the soft map over it, 0 to 1.
        counts: COCO's run lengths; empty if not requested.
        outlines: Its polygons, each as x, y, x, y ...; empty where not asked for.
    """

    label: int
    area: int
    box: Box
    score: float
    counts: Sequence[int] = ()
    outlines: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class ImageRecord:
    """One image.

    Args:
        image: Its name, `./a/b.png`.
        mask: Its label map, relative to the output folder.
        height: Of the upright image, pixels.
        width: Of the upright image, pixels.
        score: How sure the method is that there is something, 0 to 1.
        empty_reason: Why nothing was found; an empty text where something was.
        metrics: Numbers of the method, and overlaps with the ground truth.
        regions: Found regions.
    """

    image: str
    mask: str
    height: int
    width: int
    score: float
    empty_reason: str
    metrics: Mapping[str, float]
    regions: Sequence[RegionRecord]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data that `from_dict` takes back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ImageRecord":
        """Build the record from `to_dict` data, also after it went through JSON."""
        regions = [RegionRecord(**{**region, "box": tuple(region["box"])}) for region in data["regions"]]
        return cls(**{**data, "regions": regions})

    @classmethod
    def check(cls, data: Mapping[str, Any]) -> None:
        """Raise a `ValidationError` if a file holds something else than `to_dict` data."""
        TypeAdapter(cls).validate_json(json.dumps(data), strict=True)


def region_record(region: Region, shape: tuple[int, int], *, counts: bool, outlines: bool) -> RegionRecord:
    """Describe a region of an image of that (height, width)."""
    return RegionRecord(
        label=region.label,
        area=region.area,
        box=region.box,
        score=round(region.score, 6),
        counts=region.counts(shape) if counts else (),
        outlines=[corners.reshape(-1).tolist() for corners in region.outlines()] if outlines else (),
    )
