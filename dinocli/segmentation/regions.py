"""Regions of a label map, and the record of an image: label, area, box, score, run lengths and outlines of regions.

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
    """One region of a label map.

    Args:
        label: Value in the label map.
        box: Bounding box.
        mask_hw: Mask of the region inside the box.
        score: Mean of the soft map over the region, 0 to 1.
    """

    label: int
    box: Box
    mask_hw: NDArray[np.bool_]
    score: float

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask_hw))

    def counts(self, shape: tuple[int, int]) -> list[int]:
        """Return the COCO run lengths in an image of that (height, width)."""
        return run_lengths(self.mask_hw, offset=(self.box[1], self.box[0]), shape=shape)

    def outlines(self) -> list[Polygon]:
        """Return the polygons in pixels of the image."""
        return [corners + self.box[:2] for corners in polygons(self.mask_hw)]


def find_regions(labels_HW: NDArray[np.uint16], soft_HW: NDArray[np.float32], *, connected: bool) -> Iterator[Region]:
    """Yield the regions of a label map by label, then from top to bottom.

    Args:
        labels_HW: Label map; 0 is the background.
        soft_HW: Soft map, for the scores.
        connected: Each 4-connected component is a region, as for defects and objects. Otherwise all pixels of a label
            are one region, as for segments of the folder.
    """
    for number, box in enumerate(ndimage.find_objects(labels_HW), start=1):
        if box is None:
            continue
        mask_of_label = labels_HW[box] == number
        components, _ = ndimage.label(mask_of_label) if connected else (mask_of_label.astype(np.int32), 1)
        for component, inner in enumerate(ndimage.find_objects(components), start=1):
            mask = components[inner] == component
            top, left = (outer.start + within.start for outer, within in zip(box, inner, strict=True))
            score = float(soft_HW[box][inner][mask].mean())
            yield Region(number, (left, top, mask.shape[1], mask.shape[0]), mask, score)


def without_specks(labels_HW: NDArray[np.uint16], min_area: int) -> NDArray[np.uint16]:
    """Return the label map without components of fewer than `min_area` pixels, which the network cannot resolve."""
    if min_area <= 1:
        return labels_HW
    cleaned = labels_HW.copy()
    for number in np.unique(labels_HW[labels_HW > 0]):
        components, count = ndimage.label(labels_HW == number)
        small = np.bincount(components.reshape(-1), minlength=count + 1) < min_area
        small[0] = False
        cleaned[small[components]] = 0
    return cleaned


@dataclass(frozen=True)
class RegionRecord:
    """One region as stored, without a mask.

    Args:
        label: Value in the label map.
        area: Number of pixels.
        box: Left, top, width, height.
        score: Mean of the soft map over the region, 0 to 1.
        counts: COCO run lengths; empty if not requested.
        outlines: Polygons, each as x, y, x, y, ...; empty if not requested.
    """

    label: int
    area: int
    box: Box
    score: float
    counts: Sequence[int] = ()
    outlines: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class ImageRecord:
    """Result of `segment` for one image.

    Args:
        image: Name of the image, `./a/b.png`.
        mask: Path of the label map, relative to the output folder.
        height: Height of the upright image, pixels.
        width: Width of the upright image, pixels.
        score: Confidence that the image has foreground, 0 to 1.
        empty_reason: Reason for an empty mask; empty if the mask is not.
        metrics: Metrics of the method and overlap with the ground truth.
        regions: Regions of the label map.
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
        """Return the record as JSON-serialisable data for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ImageRecord":
        """Build a record from `to_dict` data, also after a JSON round trip."""
        regions = [RegionRecord(**{**region, "box": tuple(region["box"])}) for region in data["regions"]]
        return cls(**{**data, "regions": regions})

    @classmethod
    def check(cls, data: Mapping[str, Any]) -> None:
        """Raise `ValidationError` if the data is not that of `to_dict`."""
        TypeAdapter(cls).validate_json(json.dumps(data), strict=True)


def region_record(region: Region, shape: tuple[int, int], *, counts: bool, outlines: bool) -> RegionRecord:
    """Return the record of a region of an image of that (height, width)."""
    return RegionRecord(
        label=region.label,
        area=region.area,
        box=region.box,
        score=round(region.score, 6),
        counts=region.counts(shape) if counts else (),
        outlines=[corners.reshape(-1).tolist() for corners in region.outlines()] if outlines else (),
    )
