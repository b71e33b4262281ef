"""Interface of the pass over the images to newly computed or stored maps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dinocli.artifacts.run_folder import RunFolder
from dinocli.config.recipe import Data
from dinocli.data.sources import ImageList
from dinocli.segmentation.distance_scale import DistanceScale
from dinocli.segmentation.method import PatchMaps
from dinocli.segmentation.segment_images import SegmentImage, SegmentReader
from dinocli.tasks.segment.segment_options import MethodUsed


@dataclass(frozen=True)
class SegmentInputs:
    """Images and weights record of one command.

    Args:
        images: Images to segment.
        weights: `WeightsInfo.to_dict` data.
        data: Threads and the limit of unreadable images.
        run: Training run of the weights; None for other weights.
        groups: Group by image name; None if not requested.
    """

    images: ImageList
    weights: Mapping[str, Any]
    data: Data
    run: RunFolder | None
    groups: Mapping[str, str] | None = None


class SegmentPlan(Protocol):
    """Provider of the maps of each image."""

    @property
    def reader(self) -> SegmentReader:
        """Reader of the images."""
        ...

    @property
    def method(self) -> MethodUsed:
        """Method record for the report."""
        ...

    @property
    def scale(self) -> DistanceScale | None:
        """Scale of the stored distances; None for a method without distances."""
        ...

    @property
    def warning(self) -> str:
        """Warning about the fit for the report; empty for none."""
        ...

    def maps(self, picture: SegmentImage) -> PatchMaps:
        """Return the maps of an image from `reader`."""
        ...
