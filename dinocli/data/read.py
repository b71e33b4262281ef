"""`Reader`: read an image file as canvases, in the same way for every command.

Training, embedding and segmentation all use it with the `Preprocess` stored beside the weights, so that every command
sees the pixels that the weights were trained on.
"""

import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from dinocli.config.preprocess import GREY_OR_RGB, PAGES, Preprocess
from dinocli.data.canvas import STRIP_RATIO, Canvas, convert_channels, resized, shrunk_size, windows
from dinocli.data.decode import decode, decode_in_memory, image_size
from dinocli.data.decoder_warnings import ColourLost
from dinocli.data.limits import Allowance
from dinocli.data.pixels import NO_VALID_PIXEL, Decoded, Pixels, is_grey
from dinocli.data.ranges import PER_IMAGE, check_depth_kind, map_range
from dinocli.data.region_of_interest import RegionOfInterest, region_box, region_of
from dinocli.errors import DataError, UsageError


class WholeAndRegion(NamedTuple):
    """An image with its region of interest.

    Args:
        whole_CHW: The whole image.
        region_CHW: Bounding box of the region, filled outside its mask.
        region: The region; None if it is the whole image.
    """

    whole_CHW: Canvas
    region_CHW: Canvas
    region: RegionOfInterest | None


@dataclass(frozen=True)
class Reader:
    """Reads files as canvases. It is plain data and can be pickled.

    Args:
        preprocess: Range, depth, colour, channels, page and region; its size, mean and std are not used.
        short_side: Length of the shorter side of a canvas, pixels; smaller images keep their size.
    """

    preprocess: Preprocess
    short_side: int

    def __post_init__(self) -> None:
        named, wanted = len(self.preprocess.channels), self.preprocess.canvas_channels
        convertible = named in GREY_OR_RGB and wanted in GREY_OR_RGB
        if named not in (0, wanted) and self.preprocess.channels != PAGES and not convertible:
            wanted = self.preprocess.in_chans
            raise UsageError(f"--channels names {named} channels, and the weights take {wanted}; name {wanted}")

    def canvases(self, path: str) -> list[Canvas]:
        """Read an image at canvas size.

        Returns:
            One canvas; of a strip (aspect ratio above 2.5) overlapping windows that together cover it, from the top or
            left. Their number depends on the size alone.

        Raises:
            DataError: The file cannot be read; the reason without the file name.
        """
        with Allowance() as allowance:
            canvas, original_size = self._mapped(path, self.short_side, allowance)
            size = shrunk_size(*original_size, self.short_side)
            canvas = resized(canvas, original_size, size)
        return [np.ascontiguousarray(canvas[:, rows, columns]) for rows, columns in windows(*size)]

    def whole(self, path: str) -> Canvas:
        """Read a whole image at canvas size, to be resized to a square; errors as `canvases`.

        The longer side of a strip is limited to 2.5 times the shorter one, so that no canvas is larger than those of
        ordinary images.
        """
        with Allowance() as allowance:
            return self._strip_squashed(*self._mapped(path, self.short_side, allowance))

    def in_memory(self, image: Image.Image | Pixels) -> Canvas:
        """Convert a PIL image or an array (see `decode_in_memory`) to the canvas that `whole` reads from its file."""
        decoded = decode_in_memory(image, channels=self.preprocess.channels, min_side=self._min_side(self.short_side))
        return self._strip_squashed(*self._in_range(decoded, region_of(self.preprocess.roi, decoded.original_size)))

    def full(self, path: str) -> Canvas:
        """Read an image, or the bounding box of its region, at full resolution, range-mapped; errors as `canvases`."""
        with Allowance() as allowance:
            return self._mapped(path, sys.maxsize, allowance)[0]

    def whole_and_region(self, path: str) -> WholeAndRegion:
        """Read a whole image and the crop that `full` reads, at full resolution; errors as `canvases`."""
        with Allowance() as allowance:
            image = self._decoded(path, sys.maxsize, allowance)
            region = region_of(self.preprocess.roi, image.original_size)
            whole_CHW = self._in_range(image, None)[0]
            region_CHW = whole_CHW if region is None else self._in_range(image, region)[0]
        return WholeAndRegion(whole_CHW, region_CHW, region)

    def tile(self, path: str, box: tuple[int, int, int, int] | None) -> Canvas:
        """Read a tile (left, top, width, height) of an image at full resolution; without a box as `whole`.

        The box is in pixels of the whole image, also with a region.
        """
        return self.whole(path) if box is None else next(self.tiles(path, [box]))

    def tiles(self, path: str, boxes: Iterable[tuple[int, int, int, int]]) -> Iterator[Canvas]:
        """Yield several tiles of an image, as `tile`; the image is decoded once."""
        canvas = self._without_region().full(path)
        for left, top, width, height in boxes:
            yield canvas[:, top : top + height, left : left + width]

    def part(self, path: str, box: tuple[int, int, int, int]) -> Canvas:
        """Read a box (left, top, width, height) of the whole image at canvas size, as `whole` reads an image."""
        canvas, (left, top, width, height) = self._without_region().full(path), box
        if left + width > canvas.shape[2] or top + height > canvas.shape[1]:
            raise DataError(f"the box {','.join(map(str, box))} leaves its {canvas.shape[2]}x{canvas.shape[1]} pixels")
        crop = np.ascontiguousarray(canvas[:, top : top + height, left : left + width])
        return self._strip_squashed(crop, (height, width))

    def count(self, path: str) -> int:
        """Return the number of canvases, from the file header; errors as `canvases`."""
        return len(list(windows(*shrunk_size(*self.size(path), self.short_side))))  # the same for both orientations

    def size(self, path: str) -> tuple[int, int]:
        """Return (h, w) of what `full` reads, from the file header; of a whole image before EXIF orientation."""
        page = 0 if self.preprocess.z else self.preprocess.page
        stored_size, box = image_size(path, page=page), self.box
        return stored_size if box is None else (box[3], box[2])

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """Bounding box (left, top, width, height) of the region of interest; None without a region."""
        return region_box(self.preprocess.roi)

    def _without_region(self) -> "Reader":
        return replace(self, preprocess=replace(self.preprocess, roi=""))

    def _mapped(self, path: str, min_side: int, allowance: Allowance) -> tuple[Canvas, tuple[int, int]]:
        image = self._decoded(path, self._min_side(min_side), allowance)
        return self._in_range(image, region_of(self.preprocess.roi, image.original_size))

    def _decoded(self, path: str, min_side: int, allowance: Allowance) -> Decoded:
        p = self.preprocess
        image = decode(path, page=p.page, channels=p.channels, min_side=min_side, allowance=allowance, z=p.z)
        if p.canvas_channels == 1 and image.colour.shape[-1] == 3 and not is_grey(image.without_alpha(p.alpha)):
            warnings.warn("a colour image is read as grey", ColourLost, stacklevel=2)
        return image

    def _min_side(self, side: int) -> int:
        # The JPEG decoder must not downscale: it would blend nodata, shift a region and change percentiles.
        p = self.preprocess
        return sys.maxsize if p.nodata or p.roi or p.range_policy == PER_IMAGE else side

    def _strip_squashed(self, canvas: Canvas, original_size: tuple[int, int]) -> Canvas:
        max_side = round(STRIP_RATIO * self.short_side)
        height, width = shrunk_size(*original_size, self.short_side)
        return resized(canvas, original_size, (min(height, max_side), min(width, max_side)))

    def _in_range(self, image: Decoded, region: RegionOfInterest | None) -> tuple[Canvas, tuple[int, int]]:
        preprocess = self.preprocess
        check_depth_kind(image.colour.dtype, preprocess)
        image = image if region is None else image.crop(*region)
        missing = image.nodata_mask(preprocess.nodata)
        if image.is_empty(missing, preprocess.alpha):
            raise DataError(NO_VALID_PIXEL)
        mapped = map_range(image.without_alpha(preprocess.alpha), preprocess, missing)
        canvas = convert_channels(mapped.transpose(2, 0, 1), preprocess.canvas_channels)
        return (canvas if region is None else region.filled(canvas)), image.original_size
