"""Images as `segment` reads them: their own pixels, the canvas that the network sees, and the grid that lies on it.

Legend: C channels, H W pixels.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dinocli.config.preprocess import Preprocess
from dinocli.data.parallel import in_order
from dinocli.data.read import Canvas, Reader, scaled
from dinocli.data.region_of_interest import RegionOfInterest
from dinocli.data.sources import ImageList
from dinocli.errors import DataError
from dinocli.models.region_cells import cells_inside
from dinocli.segmentation.patch_geometry import LONGEST, PatchGeometry, Size, canvas_size

THREADS_IF_LARGE = 2
ENDLESS = 1 << 30
"""Pixels of a tiled canvas's longer side at most: none, for its memory does not grow with it."""


class GridLayout(NamedTuple):
    """How a grid lies on the pixels that the network sees.

    Args:
        patch: Pixels that a cell is made of.
        step: Pixels from one cell to the next.
        multiple: Pixels that both sides have to be a multiple of.
    """

    patch: int
    step: int
    multiple: int


@dataclass(frozen=True)
class SegmentImage:
    """One image, read.

    Args:
        image: Its place in the list.
        source_CHW: Its own pixels, upright, range mapped; with a region of interest the box around that.
        canvas_CHW: The same at the scale that the network sees.
        geometry: How the grid will lie on it.
        whole_CHW: All of the image; None where that is the source.
        region: Where the source lies in it; None where it is all of it.
    """

    image: int
    source_CHW: Canvas
    canvas_CHW: Canvas
    geometry: PatchGeometry
    whole_CHW: Canvas | None = None
    region: RegionOfInterest | None = None

    @property
    def inside_hw(self) -> NDArray[np.bool_] | None:
        """The cells of the grid that are at least half inside a mask, the fullest where none is; None without one."""
        return self.inside_cells(self.geometry.grid)

    def inside_cells(self, grid: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Return the same for a grid of any (rows, columns)."""
        if self.region is None or self.region.inside_hw is None:
            return None
        inside_hw: NDArray[np.bool_] = cells_inside(torch.from_numpy(self.region.inside_hw), grid).numpy()
        return inside_hw


Read = Generator[SegmentImage | tuple[int, str], None, None]
"""Images in their order; in place of an unreadable one its place in the list, and the reason."""


@dataclass(frozen=True)
class SegmentReader:
    """Reads images.

    Args:
        preprocess: How images are read.
        size: Pixels of the canvas's shorter side; 0 keeps every image's own scale.
        layout: How the grid lies on a canvas.
        tiled: Canvases are cut into tiles, and can be of any size.
    """

    preprocess: Preprocess
    size: int
    layout: GridLayout
    tiled: bool = False

    def read_images(self, images: ImageList, rows: Sequence[int], threads: int) -> Read:
        """Yield images in the asked order, read ahead in threads."""
        reader = Reader(self.preprocess, self.size)

        def read(row: int) -> SegmentImage | tuple[int, str]:
            try:
                whole, source, region = reader.whole_and_region(images.path(row))
            except DataError as error:
                return row, str(error)
            geometry = self.geometry(source.shape[1:])
            canvas = scaled(source, geometry.canvas)
            return SegmentImage(row, source, canvas, geometry, None if region is None else whole, region)

        if self.tiled:  # large images: each one that is being read takes several times its pixels
            threads = min(threads, THREADS_IF_LARGE)
        return in_order(read, rows, threads, threads)

    def geometry(self, source: Size) -> PatchGeometry:
        """Return how the grid of an image of that (height, width) lies on it."""
        patch, step, multiple = self.layout
        longest = ENDLESS if self.tiled else LONGEST
        canvas = canvas_size(source, short_side=self.size, multiple=multiple, longest=longest)
        rows, columns = ((side - patch) // step + 1 for side in canvas)
        return PatchGeometry(source, canvas, (rows, columns), patch, step)
