"""Plan of one command: its images, and the maps of each, newly computed or stored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dinocli.config.recipe import Data
from dinocli.data.image_list import ImageList
from dinocli.segmentation.distance_scale import DistanceScale
from dinocli.segmentation.method import PatchMaps
from dinocli.segmentation.segment_images import SegmentImage, SegmentReader
from dinocli.tasks.segment.segment_options import MethodUsed


@dataclass(frozen=True)
class SegmentPlan:
    """Images of a command, and the maps of each.

    Args:
        images: Images to segment.
        weights: `WeightsInfo.to_dict` data.
        data: Threads and the limit of unreadable images.
        reader: Reader of the images.
        method: Method record for the report.
        maps: Returns the maps of an image from `reader`.
        scale: Scale of the distances; None for a method without distances.
        warning: Warning about the fit for the report; empty for none.
    """

    images: ImageList
    weights: Mapping[str, Any]
    data: Data
    reader: SegmentReader
    method: MethodUsed
    maps: Callable[[SegmentImage], PatchMaps]
    scale: DistanceScale | None = None
    warning: str = ""
