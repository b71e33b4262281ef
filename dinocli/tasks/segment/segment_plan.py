"""What a pass over the images needs, whether their maps are computed now or were stored by an earlier command."""

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
    """The images of one command, and what is said of the weights.

    Args:
        images: The images.
        weights: `WeightsInfo.to_dict` data.
        data: Threads, and the limit of unreadable images.
        run: The run that made the weights; None for other weights.
        groups: The group of each image that has one; None if not requested.
    """

    images: ImageList
    weights: Mapping[str, Any]
    data: Data
    run: RunFolder | None
    groups: Mapping[str, str] | None = None


class ImageMaps(NamedTuple):
    """What is known of one image.

    Args:
        maps: On the patch grid.
        heads_nhw: Masks of attention heads on the grid, for the truth alone; None for other methods.
    """

    maps: PatchMaps
    heads_nhw: NDArray[np.bool_] | None


class SegmentPlan(Protocol):
    """Who maps the images, ready for the first of them."""

    @property
    def reader(self) -> SegmentReader:
        """How they are read."""
        ...

    @property
    def method(self) -> MethodUsed:
        """For the report."""
        ...

    @property
    def scale(self) -> DistanceScale | None:
        """Of the distances that are kept beside the masks; None for a method without any."""
        ...

    def maps(self, picture: SegmentImage, *, heads: bool) -> ImageMaps:
        """Map one image.

        Args:
            picture: As `reader` read it.
            heads: Also the masks of attention heads.
        """
        ...
