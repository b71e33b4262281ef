"""Interface of the pass over the images to newly computed or stored maps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

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


class ImageMaps(NamedTuple):
    """Maps of one image.

    Args:
        maps: Maps on the patch grid.
        heads_nhw: Masks of attention heads on the grid, for scoring against true masks; None for other methods.
    """

    maps: PatchMaps
    heads_nhw: NDArray[np.bool_] | None


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
        """What the user should know of the fit; empty if nothing."""
        ...

    def maps(self, picture: SegmentImage, *, heads: bool) -> ImageMaps:
        """Return the maps of one image.

        Args:
            picture: Image from `reader`.
            heads: Also return the masks of attention heads.
        """
        ...
