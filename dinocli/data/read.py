"""The Reader: one image file -> canvases, the same for every command that reads images.

Training, embedding and segmentation all read through here, with the `Preprocess` that is stored beside the weights, so
that no command can see other pixels than the weights were trained on.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.config.preprocess import GREY_OR_RGB, PAGES, Preprocess
from dinocli.data.decode import decode, decode_in_memory, image_size
from dinocli.data.limits import Allowance
from dinocli.data.pixels import NO_VALID_PIXEL, Decoded, Pixels
from dinocli.data.ranges import PER_IMAGE, check_depth_kind, map_range
from dinocli.data.region_of_interest import RegionOfInterest, region_box, region_of
from dinocli.errors import DataError, UsageError

Canvas = NDArray[Any]
"""An image ready to be cropped: (C, h, w), uint8 or uint16; C is that of `Preprocess.canvas_channels`."""

STRIP = 2.5
"""Longer side / shorter side from which an image is cut into windows: a crop of common shape would miss most of it."""

_WINDOW = 1.5  # longer / shorter side of one window
_MOST_WINDOWS = 10_000  # of one image
_OVERLAP = 0.25  # share of a window that its neighbour shows too, at least: nothing lies only on a border
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class WholeAndRegion(NamedTuple):
    """An image with its region.

    Args:
        whole_CHW: The whole image.
        region_CHW: The box around its region, filled outside a mask.
        region: Where that is; None where it is all of the image.
    """

    whole_CHW: Canvas
    region_CHW: Canvas
    region: RegionOfInterest | None


@dataclass(frozen=True)
class Reader:
    """Reads files into canvases. Plain data, so that it can be sent to another process.

    Args:
        preprocess: Range, depth, colour, channels, page, region. Its size, mean and std are not used here.
        short_side: Pixels of a canvas's shorter side; smaller images keep their size, they are never enlarged.
    """

    preprocess: Preprocess
    short_side: int

    def __post_init__(self) -> None:
        named, wanted = len(self.preprocess.channels), self.preprocess.canvas_channels
        convertible = named in GREY_OR_RGB and wanted in GREY_OR_RGB
        if named not in (0, wanted) and self.preprocess.channels != PAGES and not convertible:
            raise UsageError(f"--channels names {named}, and the weights take {self.preprocess.in_chans}: name so many")

    def canvases(self, path: str) -> list[Canvas]:
        """Read an image at canvas size.

        Returns:
            One canvas; of a strip (longer than 2.5 times its other side) overlapping windows that together show all of
            it, from the top or left. Their number follows from the size alone.

        Raises:
            DataError: The file cannot be read; the reason, without the name.
        """
        with Allowance() as allowance:
            canvas, true = self._mapped(path, self.short_side, allowance)
            size = shrunk_size(*true, self.short_side)
            canvas = _resized(canvas, true, size)
        return [np.ascontiguousarray(canvas[:, rows, columns]) for rows, columns in windows(*size)]

    def whole(self, path: str) -> Canvas:
        """Read a whole image at canvas size, for a look that squashes it to a square anyway; errors as `canvases`.

        Of a strip the longer side is shrunk more than the shorter one, so that no canvas is larger than those of
        ordinary images.
        """
        with Allowance() as allowance:
            return self._squashable(*self._mapped(path, self.short_side, allowance))

    def in_memory(self, image: Image.Image | Pixels) -> Canvas:
        """Turn a PIL image, or an array as `decode_in_memory` takes it, into the canvas that `whole` reads."""
        decoded = decode_in_memory(image, channels=self.preprocess.channels, min_side=self._enough(self.short_side))
        return self._squashable(*self._in_range(decoded, region_of(self.preprocess.roi, decoded.original_size)))

    def full(self, path: str) -> Canvas:
        """Read an image, or the box around its region, at its own resolution, range mapped; errors as `canvases`."""
        with Allowance() as allowance:
            return self._mapped(path, sys.maxsize, allowance)[0]

    def whole_and_region(self, path: str) -> WholeAndRegion:
        """Read an image in full, and of it what `full` reads; errors as `canvases`."""
        with Allowance() as allowance:
            image = self._decoded(path, sys.maxsize, allowance)
            region = region_of(self.preprocess.roi, image.original_size)
            whole_CHW = self._in_range(image, None)[0]
            region_CHW = whole_CHW if region is None else self._in_range(image, region)[0]
        return WholeAndRegion(whole_CHW, region_CHW, region)

    def tile(self, path: str, box: tuple[int, int, int, int] | None) -> Canvas:
        """Read a tile (left, top, width, height) of an image at its own resolution; without a box as `whole`.

        A box is one of the whole image, whatever the region.
        """
        if box is None:
            return self.whole(path)
        left, top, width, height = box
        return self._regardless().full(path)[:, top : top + height, left : left + width]

    def part(self, path: str, box: tuple[int, int, int, int]) -> Canvas:
        """Read a part (left, top, width, height) of an image, whatever the region, as `whole` reads an image."""
        canvas, (left, top, width, height) = self._regardless().full(path), box
        if left + width > canvas.shape[2] or top + height > canvas.shape[1]:
            raise DataError(f"the box {','.join(map(str, box))} leaves its {canvas.shape[2]}x{canvas.shape[1]} pixels")
        cut = np.ascontiguousarray(canvas[:, top : top + height, left : left + width])
        return self._squashable(cut, (height, width))

    def count(self, path: str) -> int:
        """Return the number of canvases from the file's header alone; errors as `canvases`."""
        return len(list(windows(*shrunk_size(*self.size(path), self.short_side))))  # lying or upright, it is the same

    def size(self, path: str) -> tuple[int, int]:
        """Return (h, w) of what `full` reads, by the header alone: of a whole image before its turn."""
        page = 0 if self.preprocess.z else self.preprocess.page
        stored, box = image_size(path, page=page), self.box
        return stored if box is None else (box[3], box[2])

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """The box (left, top, width, height) that is read of every image; None: the whole image."""
        return region_box(self.preprocess.roi)

    def _regardless(self) -> "Reader":
        """Return the same without a region."""
        return replace(self, preprocess=replace(self.preprocess, roi=""))

    def _mapped(self, path: str, min_side: int, allowance: Allowance) -> tuple[Canvas, tuple[int, int]]:
        image = self._decoded(path, self._enough(min_side), allowance)
        return self._in_range(image, region_of(self.preprocess.roi, image.original_size))

    def _decoded(self, path: str, min_side: int, allowance: Allowance) -> Decoded:
        about = self.preprocess
        return decode(path, page=about.page, channels=about.channels, min_side=min_side, allowance=allowance, z=about.z)

    def _enough(self, side: int) -> int:
        about = self.preprocess  # shrinking would blend nodata with its neighbours, move a region, change percentiles
        return sys.maxsize if about.nodata or about.roi or about.range_policy == PER_IMAGE else side

    def _squashable(self, canvas: Canvas, true: tuple[int, int]) -> Canvas:
        most = round(STRIP * self.short_side)
        height, width = shrunk_size(*true, self.short_side)
        return _resized(canvas, true, (min(height, most), min(width, most)))

    def _in_range(self, image: Decoded, region: RegionOfInterest | None) -> tuple[Canvas, tuple[int, int]]:
        about = self.preprocess
        check_depth_kind(image.colour.dtype, about)
        image = image if region is None else image.crop(*region)
        missing = image.nodata_mask(about.nodata)
        if image.is_empty(missing, about.alpha):
            raise DataError(NO_VALID_PIXEL)
        mapped = map_range(image.without_alpha(about.alpha), about, missing)
        canvas = _convert_channels(mapped.transpose(2, 0, 1), about.canvas_channels)
        return (canvas if region is None else region.filled(canvas)), image.original_size


def rgb(canvas: Canvas) -> NDArray[np.uint8]:
    """Return a canvas as (h, w, 3) bytes for a screen: of many channels the first three, of two no blue."""
    eight = (canvas >> 8).astype(np.uint8) if canvas.dtype == np.uint16 else canvas
    three = np.repeat(eight, 3, axis=0) if len(eight) == 1 else eight[:3]
    if len(three) == 2:
        three = np.concatenate([three, np.zeros_like(three[:1])])
    return np.ascontiguousarray(three.transpose(1, 2, 0))


def shrunk_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Return the size with the given shorter side, aspect kept to the nearest pixel, never enlarged."""
    short = min(height, width)
    if short <= short_side:
        return height, width
    return max(1, round(height * short_side / short)), max(1, round(width * short_side / short))


def scaled(canvas: Canvas, size: tuple[int, int]) -> Canvas:
    """Return a canvas of `Reader.full` at another (height, width), smaller with antialias or larger, bicubic."""
    return _resized(canvas, canvas.shape[1:], size)


def windows(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield (rows, columns) of the canvases that one image is cut into: itself, or overlapping parts of a strip.

    Raises:
        DataError: A strip of more than 10,000 parts.
    """
    short, long = sorted((height, width))
    if long <= STRIP * short:
        yield slice(0, height), slice(0, width)
        return
    length = round(_WINDOW * short)
    count = 1 + math.ceil((long - length) / (length * (1 - _OVERLAP)))
    if count > _MOST_WINDOWS:
        raise DataError(f"a strip of {width} x {height} pixels would be {count:,} windows; cut it into images first")
    for start in np.linspace(0, long - length, count).round().astype(int).tolist():
        part = slice(start, start + length)
        yield (part, slice(0, width)) if height > width else (slice(0, height), part)


def _convert_channels(canvas: Canvas, wanted: int) -> Canvas:
    """Make one channel of RGB, or RGB of one, as the dataset has it; any other number has to be right."""
    count = len(canvas)
    if count == wanted:
        return canvas
    if (count, wanted) == (3, 1):
        luma: Canvas = np.rint(np.tensordot(_LUMA, canvas.astype(np.float32), axes=1)).astype(canvas.dtype)
        return luma[None]
    if (count, wanted) == (1, 3):
        return np.repeat(canvas, 3, axis=0)
    raise DataError(f"{count} channel{'s' * (count > 1)}, and {wanted} are to be read: name them with --channels")


def _resized(canvas: Canvas, true: tuple[int, int], size: tuple[int, int]) -> Canvas:
    """Down-scale with antialias (bicubic over the whole footprint of a pixel); what PIL has no mode for in float.

    Args:
        canvas: (C, h, w), of the true size, or an 8th, a 4th or a half of it as the JPEG decoder shrinks, rounded up.
        true: (h, w) of the file. The decoder's last row and column can stand for fewer pixels than the others; only
            the true part is spread over the result, which would otherwise be stretched by up to a pixel.
        size: (h, w) of the result.
    """
    if canvas.shape[1:] == true == size:
        return canvas
    shrunk = round(max(true) / max(canvas.shape[1:]))
    box = (0.0, 0.0, true[1] / shrunk, true[0] / shrunk)
    if canvas.dtype == np.uint8 and len(canvas) in GREY_OR_RGB:
        image = Image.fromarray(canvas[0] if len(canvas) == 1 else np.ascontiguousarray(canvas.transpose(1, 2, 0)))
        small: Canvas = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC, box))
        return small[None] if small.ndim == 2 else small.transpose(2, 0, 1)
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in canvas]
    small = np.stack([np.asarray(plane.resize(size[::-1], Image.Resampling.BICUBIC, box)) for plane in planes])
    rounded: Canvas = np.rint(small.clip(0, np.iinfo(canvas.dtype).max)).astype(canvas.dtype)
    return rounded
