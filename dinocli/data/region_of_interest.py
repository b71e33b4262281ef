"""The region of interest (`--roi`): the part of each image that counts, as a box or as a mask.

What is read of an image is the bounding box of its region; pixels of the box that are outside a mask take the mean
colour of those inside. So crops, features, banks and scores see nothing of what lies outside, in every command.

The region is recorded as text in `Preprocess.roi`, and so travels with weights, features and detectors: a box as
`x,y,w,h`, a mask as the PNG itself (a data URI), which needs no file to be there later.

Convention: boxes are (left, top, width, height) in pixels of the upright image. Legend: h w pixels of the box.
"""

import base64
import io
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.data.mask_reader import read_mask
from dinocli.errors import DataError, UsageError

Box = tuple[int, int, int, int]

NONE = "none"
"""After `--roi`: whole images, whatever is stored."""

_PNG = "data:image/png;base64,"
_BOX = re.compile(r"\d{1,9}(?:,\d{1,9}){3}")


class RegionOfInterest(NamedTuple):
    """The region of one image.

    Args:
        box: Around it.
        inside_hw: Pixels of the box that belong to it; None where all do.
    """

    box: Box
    inside_hw: NDArray[np.bool_] | None = None

    def filled(self, canvas: NDArray[Any]) -> NDArray[Any]:
        """Give pixels of the box that are outside the region the mean colour of those inside.

        Args:
            canvas: (C, h, w).
        """
        if self.inside_hw is None:
            return canvas
        mean_C = canvas[:, self.inside_hw].mean(axis=1).round().astype(canvas.dtype)
        return np.where(self.inside_hw, canvas, mean_C[:, None, None])


def parse_roi(text: str) -> str:
    """Turn what stands after `--roi` into the record of it.

    Args:
        text: `x,y,w,h`, a mask file, `none` or nothing; or a record, which stays as it is.

    Raises:
        UsageError: A box without area, no such file.
        DataError: A mask that cannot be read, or is empty.
    """
    if text in ("", NONE):
        return ""
    if _BOX.fullmatch(text):
        if 0 in _numbers(text)[2:]:
            raise UsageError(f"--roi {text} has no area; write left,top,width,height in pixels")
        return text
    if text.startswith(_PNG):
        return text
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"--roi {text}: no such mask, and no box; write x,y,w,h in pixels, or name a mask file")
    try:
        inside_HW = read_mask(path).labels_HW > 0
    except DataError as error:
        raise DataError(f"the mask --roi {text} cannot be read: {error}") from error
    if not inside_HW.any():
        raise DataError(f"--roi {text} is empty: it has to be above 0 where the image counts")
    file = io.BytesIO()
    Image.fromarray(inside_HW).save(file, "png", optimize=True)
    return _PNG + base64.b64encode(file.getvalue()).decode()


def described_roi(roi: str) -> str:
    """Say in a few words which region a record means; empty where there is none."""
    if not roi:
        return ""
    if is_box(roi):
        left, top, width, height = _numbers(roi)
        return f"region of {width}x{height} px at {left},{top}"
    inside_HW = _decoded(roi)
    return "region by a mask of {1}x{0} px, {2:.0%} inside".format(*inside_HW.shape, inside_HW.mean())


def is_box(roi: str) -> bool:
    """Return whether a record is a box, not a mask."""
    return bool(_BOX.fullmatch(roi))


def region_box(roi: str) -> Box | None:
    """Return the bounding box of a region; None where there is none. Nothing is known yet of the image."""
    if not roi:
        return None
    if is_box(roi):
        left, top, width, height = _numbers(roi)
        return left, top, width, height
    return _boxed(roi).box


def region_mask(roi: str) -> NDArray[np.bool_] | None:
    """Return which pixels of the box count, (h, w); None where all do."""
    return None if not roi or is_box(roi) else _boxed(roi).inside_hw


def region_of(roi: str, size: tuple[int, int]) -> RegionOfInterest | None:
    """Return the region of an image; None where there is none.

    Args:
        roi: The record.
        size: (H, W) of the upright image.

    Raises:
        DataError: A box that leaves the image, or a mask of another size.
    """
    if not roi:
        return None
    height, width = size
    if not is_box(roi):
        mask_height, mask_width = _decoded(roi).shape
        if (mask_height, mask_width) != size:
            raise DataError(f"the mask of --roi has {mask_width}x{mask_height} px, the image {width}x{height}")
        return _boxed(roi)
    left, top, across, down = _numbers(roi)
    if left + across > width or top + down > height:
        raise DataError(f"the box --roi {roi} leaves its {width}x{height} px")
    return RegionOfInterest((left, top, across, down))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


@lru_cache(maxsize=2)
def _decoded(roi: str) -> NDArray[np.bool_]:
    """Return the mask of a record, (H, W)."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(roi.removeprefix(_PNG), validate=True)), formats=["PNG"]) as image:
            inside_HW = np.asarray(image.convert("1"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError("the stored region of interest is damaged; name it again with --roi, or --roi none") from error
    if not inside_HW.any():
        raise DataError("the stored region of interest is empty; name one with --roi, or --roi none")
    return inside_HW


@lru_cache(maxsize=2)
def _boxed(roi: str) -> RegionOfInterest:
    inside_HW = _decoded(roi)
    rows, columns = np.flatnonzero(inside_HW.any(axis=1)), np.flatnonzero(inside_HW.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    inside_hw = inside_HW[top : rows[-1] + 1, left : columns[-1] + 1].copy()  # writable, as torch wants it
    return RegionOfInterest((left, top, inside_hw.shape[1], inside_hw.shape[0]), None if inside_hw.all() else inside_hw)
