"""Images in, one grid of features each out: at one scale, or in tiles that are blended.

Legend: C channels, H W pixels, h w cells, D width, T tiles.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.resample import normalise
from dinocli.config.preprocess import Preprocess
from dinocli.data.parallel import in_order
from dinocli.data.read import Canvas, Reader, scaled
from dinocli.data.sources import ImageList
from dinocli.errors import DataError, UsageError
from dinocli.models.backbone import Backbone
from dinocli.tasks.segment.feature_kinds import lattice, look_at
from dinocli.tasks.segment.frame import LONGEST, Frame, Size, canvas_size
from dinocli.tasks.segment.method import FeatureGrid, FeatureKind
from dinocli.tasks.segment.tiles import Blend, Tiling, parts

TILES_AT_ONCE = 8
THREADS_IF_LARGE = 2
ENDLESS = 1 << 30
"""Pixels of a tiled canvas's longer side at most: none, for its memory does not grow with it."""


@dataclass(frozen=True)
class SegmentImage:
    """One image, read.

    Args:
        image: Its place in the list.
        source_CHW: Its own pixels, upright, range mapped.
        canvas_CHW: The same at the scale that the network sees.
        frame: How the grid will lie on it.
    """

    image: int
    source_CHW: Canvas
    canvas_CHW: Canvas
    frame: Frame


Read = Generator[SegmentImage | tuple[int, str], None, None]
"""Images in their order; in place of an unreadable one its place in the list, and the reason."""


@dataclass(frozen=True)
class FeatureExtraction:
    """Reads images and looks at them with a backbone.

    Args:
        backbone: In eval mode, on the device.
        preprocess: How images are read and normalised.
        look: What is wanted of every patch.
        device: Of the backbone.
        size: Pixels of the canvas's shorter side; 0 keeps every image's own scale.
        tiling: Cut canvases into tiles, or None.
        query: See `look_at`.
        autocast: Type to compute in, or None.
    """

    backbone: Backbone
    preprocess: Preprocess
    look: FeatureKind
    device: torch.device
    size: int
    tiling: Tiling | None = None
    query: tuple[float, float] | None = None
    autocast: torch.dtype | None = None

    def pictures(self, images: ImageList, rows: Sequence[int], threads: int) -> Read:
        """Yield images in the asked order, read ahead in threads."""
        reader = Reader(self.preprocess, self.size)

        def read(row: int) -> SegmentImage | tuple[int, str]:
            try:
                source = reader.full(images.path(row))
            except DataError as error:
                return row, str(error)
            frame = self.frame(source.shape[1:])
            return SegmentImage(row, source, scaled(source, frame.canvas), frame)

        if self.tiling:  # large images: each one that is being read takes several times its pixels
            threads = min(threads, THREADS_IF_LARGE)
        return in_order(read, rows, threads, threads)

    def frame(self, source: Size) -> Frame:
        """Return how the grid of an image of that (height, width) lies on it."""
        patch, step, multiple = lattice(self.backbone, self.look)
        longest = ENDLESS if self.tiling else LONGEST
        canvas = canvas_size(source, short_side=self.size, multiple=multiple, longest=longest)
        rows, columns = ((side - patch) // step + 1 for side in canvas)
        return Frame(source, canvas, (rows, columns), patch, step)

    def grid(self, picture: SegmentImage) -> FeatureGrid:
        """Look at one image."""
        tiling = self.tiling
        return FeatureGrid(
            self._blended(picture, tiling) if tiling else self._look([picture.canvas_CHW])[0], picture.image
        )

    def _blended(self, picture: SegmentImage, tiling: Tiling) -> NDArray[np.float32]:
        patch, step, multiple = lattice(self.backbone, self.look)
        side = round(tiling.size / multiple) * multiple
        if side < 2 * multiple:
            raise UsageError(
                f"--tile {tiling.size} is less than two patches of {multiple} px: use {4 * multiple} or more"
            )
        pixels = [min(side, whole) for whole in picture.frame.canvas]
        rows, columns = ((length - patch) // step + 1 for length in pixels)
        overlap = min(-(-tiling.overlap // step), min(rows, columns) // 2)
        blend = Blend(picture.frame.grid)
        cut = parts(picture.frame.grid, (rows, columns), overlap, align=multiple // step)
        while some := list(islice(cut, TILES_AT_ONCE)):
            corners = [(part.row * step, part.column * step) for part in some]
            tiles = [picture.canvas_CHW[:, y : y + pixels[0], x : x + pixels[1]] for y, x in corners]
            for part, values_hwD in zip(some, self._look(tiles), strict=True):
                blend.add(part, values_hwD)
        return blend.result()

    def _look(self, canvases: Sequence[Canvas]) -> NDArray[np.float32]:
        x_B3HW = normalise(self._pixels(canvases), self.preprocess.mean, self.preprocess.std)
        return look_at(self.backbone, x_B3HW, self.look, query=self.query, autocast=self.autocast)

    def _pixels(self, canvases: Sequence[Canvas]) -> Tensor:
        """Return canvases of one size as (B, C, H, W) floats in [0, 1] on the device."""
        stacked = np.stack(canvases)
        white = float(np.iinfo(stacked.dtype).max)
        return torch.from_numpy(stacked).to(self.device).float() / white


def check_tiling(name: str, tiling: Tiling | None, *, whole: bool) -> None:
    """Raise a `UsageError` for a method that has to see an image in one piece."""
    if tiling and whole:
        raise UsageError(f"--method {name} looks across the whole image, which --tile would cut: leave --tile out")
