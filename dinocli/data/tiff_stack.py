"""Planes of a stack along z (`--z`), by the axes of OME-XML, ImageJ or tifffile metadata.

`--page` counts all axes besides z, channels and the plane itself, such as time. Without axis metadata, the pages of a
file are the planes of one stack.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.config.preprocess import Channels
from dinocli.data.channel_names import ome_names
from dinocli.data.pixels import Pixels, channel_numbers
from dinocli.data.tiff_pages import MASK, REDUCED, planes_of
from dinocli.errors import DataError

_PAGE_AXES, _UNNAMED_AXES = "YXS", "IQR"


def stack_pages(file: Any, z: str, channels: Channels, page: int) -> list[list[Any]]:
    """Return the pages of each channel along z: all in order for a projection, or the one with index `z`.

    Args:
        file: `tifffile.TiffFile`.
        z: ``max``, ``mean`` or an index from 0.
        channels: Channels to select; empty selects all.
        page: Index along all other axes, from 0.

    Raises:
        DataError: No such plane, channel or page, planes in other files, or images outside of the stack.
    """
    indices = _page_indices(file)
    names = ome_names(file.pages.first.description)[0]
    numbers = channel_numbers(channels, names) if channels else list(range(indices.shape[1]))
    planes = [int(z)] if z.isdigit() else list(range(indices.shape[2]))
    for axis, number, count in (
        ("page", page, len(indices)),
        ("channel", max(numbers), indices.shape[1]),
        ("plane z", planes[-1], indices.shape[2]),
    ):
        if number >= count:
            raise DataError(f"{axis} {number} of a stack with {count} (counted from 0)")
    pages = planes_of(file, indices.size)
    by_channel = [[pages[index] for index in indices[page, number, planes]] for number in numbers]
    if any(plane is None or plane.parent is not file for channel_planes in by_channel for plane in channel_planes):
        raise DataError("planes of its stack are missing, or lie in other files")
    return by_channel


def stack_shape(file: Any) -> tuple[int, ...]:
    """Return the shape of the first series of a file, (other axes, channels, z); errors as `stack_pages`."""
    return _page_indices(file).shape


def _page_indices(file: Any) -> NDArray[np.int64]:
    """Return the index of each page of the first series, (other axes, channels, z)."""
    series = file.series[0]
    lengths = {axis: n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in _PAGE_AXES}
    if any(not other.keyframe.subfiletype & (REDUCED | MASK) for other in file.series[1:]):
        named = not set(lengths) <= set(_UNNAMED_AXES)
        reason = "it holds several stacks" if named else "its pages differ in size or type, so they are not a stack"
        raise DataError(f"{reason}: use --page N in place of --z")
    if len(lengths) == 1 and set(lengths) <= set(_UNNAMED_AXES):
        lengths = dict(zip("Z", lengths.values(), strict=True))
    needed = math.prod(lengths.values())
    available = len(planes_of(file, needed))
    if available != needed:
        raise DataError(f"{available} pages where the axes {series.axes} need {needed}")
    order = [*(axis for axis in lengths if axis not in "CZ"), *(axis for axis in "CZ" if axis in lengths)]
    indices = np.arange(needed).reshape([*lengths.values()]).transpose([[*lengths].index(axis) for axis in order])
    return indices.reshape(-1, lengths.get("C", 1), lengths.get("Z", 1))


def projected(planes: list[Pixels], z: str) -> Pixels:
    """Project planes along z (maximum or mean) in their native dtype; a mean of integers is rounded."""
    if z == "max":
        highest: Pixels = np.maximum.reduce(planes)
        return highest
    if len(planes) == 1:
        return planes[0]
    total = np.zeros(planes[0].shape, np.float64)
    for plane in planes:
        total += plane
    total /= len(planes)
    mean: Pixels = (np.rint(total) if planes[0].dtype.kind in "iu" else total).astype(planes[0].dtype)
    return mean
