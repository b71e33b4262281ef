"""Reader of `segment`: for each image its pixels, its canvas (the network input) and the geometry of its patch grid.

Legend: C channels, H W pixels.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dinocli.config.preprocess import Preprocess
from dinocli.data.canvas import Canvas, scaled
from dinocli.data.image_list import ImageList
from dinocli.data.parallel import in_order
from dinocli.data.read import Reader
from dinocli.data.region_of_interest import RegionOfInterest
from dinocli.errors import DataError
from dinocli.models.region_cells import cells_inside
from dinocli.segmentation.patch_geometry import MAX_LONG_SIDE, PatchGeometry, Size, canvas_size

MAX_THREADS_TILED = 2
"""Maximum number of reading threads for tiled images: each image being read takes several times its pixels."""

MAX_TILED_LONG_SIDE = 1 << 30
"""Maximum longer side of a tiled canvas, pixels: in practice no limit, as device memory does not grow with it."""


class GridLayout(NamedTuple):
    """Layout of a patch grid on a canvas.

    Args:
        patch: Side of a patch, pixels.
        step: Distance between neighbouring patches, pixels.
        multiple: Divisor of both sides of a canvas, pixels.
    """

    patch: int
    step: int
    multiple: int

    def geometry(self, source: Size, canvas: Size) -> PatchGeometry:
        """Return the geometry of the patch grid of an image of that (height, width) on a canvas."""
        rows, columns = ((side - self.patch) // self.step + 1 for side in canvas)
        return PatchGeometry(source, canvas, (rows, columns), self.patch, self.step)

    def canvas(self, grid: Size) -> Size:
        """Return the size of the canvas that has a patch grid of those (rows, columns)."""
        height, width = ((cells - 1) * self.step + self.patch for cells in grid)
        return height, width


@dataclass(frozen=True)
class SegmentImage:
    """One image after reading.

    Args:
        image: Index in the list of images.
        source_CHW: Pixels, upright and mapped to the range; with a region of interest, its bounding box.
        canvas_CHW: `source_CHW` resized to the network input.
        geometry: Geometry of the patch grid of the canvas.
        whole_CHW: The whole image if there is a region of interest, else None.
        region: The region of interest, else None.
    """

    image: int
    source_CHW: Canvas
    canvas_CHW: Canvas
    geometry: PatchGeometry
    whole_CHW: Canvas | None
    region: RegionOfInterest | None

    @property
    def inside_hw(self) -> NDArray[np.bool_] | None:
        """Cells at least half inside the mask of the region, or else the one with most of it; None without a mask."""
        return self.inside_cells(self.geometry.grid)

    def inside_cells(self, grid: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Return `inside_hw` for a grid of the given (rows, columns)."""
        if self.region is None or self.region.inside_hw is None:
            return None
        inside_hw: NDArray[np.bool_] = cells_inside(torch.from_numpy(self.region.inside_hw), grid).numpy()
        return inside_hw


Read = Generator[SegmentImage | tuple[int, str], None, None]
"""Images in order; for an unreadable image, its index in the list and the reason."""


BLANK = "blank: one colour everywhere, so it is not judged"
"""Reason for the empty mask of a blank image by the anomaly method."""


def is_blank(picture: SegmentImage) -> bool:
    """Return whether the image has one colour everywhere: it looks like nothing, so no distance tells it apart."""
    return bool((picture.source_CHW == picture.source_CHW[:, :1, :1]).all())


@dataclass(frozen=True)
class SegmentReader:
    """Reads images and resizes them to canvases.

    Args:
        preprocess: Preprocessing of the images.
        size: Shorter side of the canvas, pixels; 0 keeps the scale of each image.
        layout: Layout of the patch grid on a canvas.
        tiled: Canvases are tiled, so their longer side is not limited.
    """

    preprocess: Preprocess
    size: int
    layout: GridLayout
    tiled: bool

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "SegmentReader":
        """Return the reader that `to_dict` describes."""
        layout, preprocess = GridLayout(*stored["layout"]), Preprocess.from_dict(stored["preprocess"])
        return cls(preprocess, stored["size"], layout, stored["tiled"])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self) | {"preprocess": self.preprocess.to_dict(), "layout": list(self.layout)}

    def read_images(self, images: ImageList, rows: Sequence[int], threads: int) -> Read:
        """Yield the images of the given rows in that order, read ahead by threads."""
        reader = Reader(self.preprocess, self.size)

        def read(row: int) -> SegmentImage | tuple[int, str]:
            try:
                whole, source, region = reader.whole_and_region(images.path(row))
            except DataError as error:
                return row, str(error)
            geometry = self.geometry(source.shape[1:])
            canvas = scaled(source, geometry.canvas)
            return SegmentImage(row, source, canvas, geometry, None if region is None else whole, region)

        if self.tiled:
            threads = min(threads, MAX_THREADS_TILED)
        return in_order(read, rows, threads, threads)

    def geometry(self, source: Size) -> PatchGeometry:
        """Return the geometry of the patch grid of an image of that (height, width)."""
        longest = MAX_TILED_LONG_SIDE if self.tiled else MAX_LONG_SIDE
        canvas = canvas_size(source, short_side=self.size, multiple=self.layout.multiple, longest=longest)
        return self.layout.geometry(source, canvas)
