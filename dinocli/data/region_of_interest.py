"""Region of interest (`--roi`): the part of each image that is read, as a box or a mask.

Every command reads the bounding box of the region; pixels in the box but outside the mask get the mean colour of those
inside. So crops, features, memory banks and scores do not depend on anything outside.

`Preprocess.roi` stores the region as text beside weights, features and detectors: a box as `x,y,w,h`, a mask as PNG
data URI, which needs no file later.

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

from dinocli.data.limits import without_pil_limit
from dinocli.data.mask_reader import read_mask
from dinocli.errors import DataError, UsageError

Box = tuple[int, int, int, int]
"""Left, top, width, height: pixels of the upright image."""

NO_BOX: Box = (0, 0, 0, 0)
"""Box of an image that has no tiles: it is whole, or unreadable."""

NO_REGION = "none"
"""Value of `--roi` for whole images, whatever region is stored."""

_PNG_URI = "data:image/png;base64,"
_BOX_PATTERN = re.compile(r"\d{1,9}(?:,\d{1,9}){3}")


class RegionOfInterest(NamedTuple):
    """The region of one image.

    Args:
        box: Bounding box.
        inside_hw: Pixels of the box that belong to the region; None if all do.
    """

    box: Box
    inside_hw: NDArray[np.bool_] | None = None

    def filled(self, canvas: NDArray[Any]) -> NDArray[Any]:
        """Fill pixels of the box outside the region with the mean colour of those inside.

        Args:
            canvas: (C, h, w).
        """
        if self.inside_hw is None:
            return canvas
        mean_C = canvas[:, self.inside_hw].mean(axis=1).round().astype(canvas.dtype)
        return np.where(self.inside_hw, canvas, mean_C[:, None, None])


def parse_roi(text: str) -> str:
    """Convert the value of `--roi` to the text that `Preprocess.roi` stores.

    Args:
        text: `x,y,w,h`, a mask file, `none` or empty; stored text is returned unchanged.

    Raises:
        UsageError: A box without area, or no such file.
        DataError: The mask cannot be read, or is empty.
    """
    if text in ("", NO_REGION):
        return ""
    if _BOX_PATTERN.fullmatch(text):
        if 0 in _numbers(text)[2:]:
            raise UsageError(f"--roi {text} has no area; write left,top,width,height in pixels")
        return text
    if text.startswith(_PNG_URI):
        return text
    path = Path(text)
    if path.is_dir():
        raise UsageError(f"--roi {text} is a folder; all images share one region: name a box or one mask file")
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
    return _PNG_URI + base64.b64encode(file.getvalue()).decode()


def described_roi(roi: str) -> str:
    """Describe a stored region by its size in pixels; empty without a region."""
    if not roi:
        return ""
    if is_box(roi):
        left, top, width, height = _numbers(roi)
        return f"region of {width}x{height} px at {left},{top}"
    inside_HW = _decoded(roi)
    return "region by a mask of {1}x{0} px, {2:.0%} inside".format(*inside_HW.shape, inside_HW.mean())


def is_box(roi: str) -> bool:
    """Return whether a stored region is a box, not a mask."""
    return bool(_BOX_PATTERN.fullmatch(roi))


def region_box(roi: str) -> Box | None:
    """Return the bounding box of a stored region; None without a region. It may exceed the image."""
    if not roi:
        return None
    if is_box(roi):
        left, top, width, height = _numbers(roi)
        return left, top, width, height
    return _mask_region(roi).box


def region_mask(roi: str) -> NDArray[np.bool_] | None:
    """Return the pixels of the bounding box that belong to the region, (h, w); None if all do."""
    return None if not roi or is_box(roi) else _mask_region(roi).inside_hw


def region_of(roi: str, size: tuple[int, int]) -> RegionOfInterest | None:
    """Return the region of an image; None without a region.

    Args:
        roi: Stored region, as `Preprocess.roi`.
        size: (H, W) of the upright image.

    Raises:
        DataError: The box exceeds the image, or the mask has another size.
    """
    if not roi:
        return None
    height, width = size
    if not is_box(roi):
        mask_height, mask_width = _decoded(roi).shape
        if (mask_height, mask_width) != size:
            raise DataError(f"the mask of --roi has {mask_width}x{mask_height} px, the image {width}x{height}")
        return _mask_region(roi)
    left, top, across, down = _numbers(roi)
    if left + across > width or top + down > height:
        raise DataError(f"the box --roi {roi} leaves its {width}x{height} px")
    return RegionOfInterest((left, top, across, down))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


@lru_cache(maxsize=2)
def _decoded(roi: str) -> NDArray[np.bool_]:
    """Decode a stored mask, (H, W)."""
    try:
        png = base64.b64decode(roi.removeprefix(_PNG_URI), validate=True)
        with without_pil_limit(), Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            inside_HW = np.asarray(image.convert("1"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError("the stored region of interest is damaged; name it again with --roi, or --roi none") from error
    if not inside_HW.any():
        raise DataError("the stored region of interest is empty; name one with --roi, or --roi none")
    return inside_HW


@lru_cache(maxsize=2)
def _mask_region(roi: str) -> RegionOfInterest:
    inside_HW = _decoded(roi)
    rows, columns = np.flatnonzero(inside_HW.any(axis=1)), np.flatnonzero(inside_HW.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    inside_hw = inside_HW[top : rows[-1] + 1, left : columns[-1] + 1].copy()  # torch warns of read-only arrays
    return RegionOfInterest((left, top, inside_hw.shape[1], inside_hw.shape[0]), None if inside_hw.all() else inside_hw)
