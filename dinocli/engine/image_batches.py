"""Batches of images or tiles, decoded ahead in threads; their content depends only on the list of images.

If the network runs on the CPU, the threads also resize the images with PIL, which releases the GIL; torch would resize
between two batches. A GPU resizes a whole batch at once. Both use the same bicubic kernel.

Legend: B images or tiles of a batch, C channels, S pixels of the square's side.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dinocli.config.preprocess import Preprocess
from dinocli.data.canvas import Canvas
from dinocli.data.image_list import ImageList
from dinocli.data.parallel import in_order
from dinocli.data.read import Reader
from dinocli.data.region_of_interest import NO_BOX, Box, region_mask
from dinocli.data.tiling import Tiling, tile_boxes
from dinocli.engine.square_resize import CANVAS_PER_SIDE, aspect_size, input_size, squashed
from dinocli.errors import DataError

T = TypeVar("T")

INSIDE = 0.25
"""Share of a tile that must lie inside the region of interest for the tile to be used."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageTile:
    """One image or tile, which becomes one row of features.

    Args:
        image: Index of the image in the list.
        box: Box of the tile; None for a whole image.
        canvas: Canvas (C, h, w), or float32 in [0, 1] at its final size if the thread resized it, or the reason why it
            cannot be read; None if the row is known.
    """

    image: int
    box: Box | None
    canvas: Canvas | str | None


class ImageBatches:
    """Images or tiles of a list in batches, numbered from 0.

    Args:
        images: List of images.
        preprocess: Reading and normalisation.
        tiling: Tiling of the images; None for whole images.
        threads: Number of decoding threads.
        on_cpu: Whether the network runs on the CPU.
        cell: Keep the aspect ratio: the shorter side gets the size, both sides are multiples of `cell` pixels. 0
            resizes to a square.
        progress: Receives the number of images whose tiles are counted.

    Attributes:
        known: Known rows of whole images, which are not read, by the index of the image.
    """

    def __init__(
        self,
        images: ImageList,
        preprocess: Preprocess,
        tiling: Tiling | None,
        threads: int,
        *,
        on_cpu: bool,
        cell: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.images, self.preprocess, self.tiling, self.threads = images, preprocess, tiling, threads
        self._cell, self._on_cpu = cell, on_cpu
        self.known: Mapping[int, NDArray[np.float32]] = {}
        self._squash = cell > 0 or (on_cpu and tiling is None)  # resized tiles would take more memory than the image
        self._reader = Reader(preprocess, CANVAS_PER_SIDE * preprocess.size)
        counts = (
            self._by_header(partial(_tiles_in, reader=self._reader, tiling=tiling), progress)
            if tiling
            else repeat(1, len(images))
        )
        self.starts_N1 = np.concatenate([[0], np.cumsum(np.fromiter(counts, np.int64))])

    def __len__(self) -> int:
        return int(self.starts_N1[-1])

    def for_images(self, images: ImageList) -> "ImageBatches":
        """Return batches of other images with the same settings."""
        return ImageBatches(images, self.preprocess, self.tiling, self.threads, on_cpu=self._on_cpu, cell=self._cell)

    def batches(self, first: int, size: int) -> Generator[list[ImageTile], None, None]:
        """Yield all images or tiles from number `first` on in batches of `size`; the next ones are decoded meanwhile.

        An unreadable image gives as many tiles as its header states, or one if the header is damaged too.
        """
        image = int(np.searchsorted(self.starts_N1, first, side="right")) - 1
        pieces = islice(self._pieces(image, size), first - int(self.starts_N1[image]), None)
        while batch := list(islice(pieces, size)):
            yield batch

    def _pieces(self, first: int, size: int) -> Iterator[ImageTile]:
        # Read ahead: a batch of whole images, which are small canvases; for tiles, one full-size image per thread.
        ahead = self.threads if self.tiling else size + self.threads
        numbers = range(first, len(self.images))
        for image, canvas in zip(numbers, in_order(self._read, numbers, self.threads, ahead), strict=True):
            yield from (
                [ImageTile(image, None, canvas)] if self.tiling is None else self._tiles(image, canvas, self.tiling)
            )

    def _tiles(self, image: int, canvas: Canvas | str | None, tiling: Tiling) -> Iterator[ImageTile]:
        assert canvas is not None, "known rows are of whole images"
        boxes = (
            [] if isinstance(canvas, str) else _boxes_inside((canvas.shape[1], canvas.shape[2]), self._reader, tiling)
        )
        if isinstance(canvas, str) or len(boxes) != self._count(image):
            reason = canvas if isinstance(canvas, str) else "its header states another size than its pixels have"
            yield from repeat(ImageTile(image, NO_BOX, reason), self._count(image))
            return
        corner = self._reader.box or NO_BOX  # boxes are in pixels of the whole image
        for left, top, width, height in boxes:
            box = (corner[0] + left, corner[1] + top, width, height)
            yield ImageTile(image, box, canvas[:, top : top + height, left : left + width])

    def _read(self, image: int) -> Canvas | str | None:
        if image in self.known:
            return None
        read = self._reader.full if self.tiling else self._reader.whole
        try:
            canvas = read(self.images.path(image))
        except DataError as error:
            return str(error)
        if not self._squash:
            return canvas
        return squashed(canvas, input_size(canvas, self.preprocess.size, self._cell))

    def sizes(self) -> Generator[tuple[int, int], None, None]:
        """Yield the (h, w) to which each image is resized, from its header without EXIF orientation; (0, 0) if bad."""
        yield from self._by_header(
            partial(_fitted_size, reader=self._reader, side=self.preprocess.size, cell=self._cell)
        )

    def _count(self, image: int) -> int:
        return int(self.starts_N1[image + 1] - self.starts_N1[image])

    def _by_header(self, read: Callable[[str], T], progress: Progress | None = None) -> Iterator[T]:
        """Apply a function to each path in threads, and yield the results in order."""
        for done, found in enumerate(in_order(read, self.images.paths(), self.threads), 1):
            if progress:
                progress(done, len(self.images))
            yield found


def _fitted_size(path: str, reader: Reader, side: int, cell: int) -> tuple[int, int]:
    try:
        return aspect_size(*reader.size(path), side, cell) if cell else (side, side)
    except DataError:
        return 0, 0


def _tiles_in(path: str, reader: Reader, tiling: Tiling) -> int:
    try:
        return len(_boxes_inside(reader.size(path), reader, tiling))
    except DataError:
        return 1


def _boxes_inside(size: tuple[int, int], reader: Reader, tiling: Tiling) -> list[Box]:
    """Return the tiles that lie inside the region by at least `INSIDE`, or the fullest ones if none does."""
    boxes, inside_hw = tile_boxes(*size, tiling), region_mask(reader.preprocess.roi)
    if inside_hw is None:
        return boxes
    shares = [float(inside_hw[top : top + height, left : left + width].mean()) for left, top, width, height in boxes]
    return [box for box, share in zip(boxes, shares, strict=True) if share >= min(INSIDE, max(shares))]
