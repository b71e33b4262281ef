"""Planes of a stack along its axis z (`--z`), by the axes that OME-XML, ImageJ or tifffile name.

What is left besides z, channels and the plane itself, such as time, is counted by `--page`. The pages of a file that
names no axes are the planes of one stack.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.config.preprocess import Channels
from dinocli.data.channel_names import ome_names
from dinocli.data.pixels import Pixels, channel_numbers
from dinocli.data.tiff_pages import planes_of
from dinocli.errors import DataError

_OF_A_PAGE, _UNNAMED = "YXS", "IQR"


def stack_pages(file: Any, z: str, channels: Channels, page: int) -> list[list[Any]]:
    """Return for each channel the pages along z, in their order: all of them, or the one that `z` numbers.

    Args:
        file: A `tifffile.TiffFile`.
        z: ``max``, ``mean`` or a number from 0.
        channels: Channels to take; empty takes all.
        page: Place along all other axes, from 0.

    Raises:
        DataError: No such plane, channel or page, or planes that lie in other files.
    """
    places = _places(file)
    names = ome_names(file.pages.first.description)[0]
    numbers = channel_numbers(channels, names) if channels else list(range(places.shape[1]))
    planes = [int(z)] if z.isdigit() else list(range(places.shape[2]))
    for what, number, count in (
        ("page", page, len(places)),
        ("channel", max(numbers), places.shape[1]),
        ("plane z", planes[-1], places.shape[2]),
    ):
        if number >= count:
            raise DataError(f"{what} {number} of a stack with {count} (counted from 0)")
    pages = planes_of(file, places.size)
    found = [[pages[place] for place in places[page, number, planes]] for number in numbers]
    if any(one is None or one.parent is not file for along in found for one in along):
        raise DataError("planes of its stack are missing, or lie in other files")
    return found


def stack_shape(file: Any) -> tuple[int, ...]:
    """Return how many planes the first series of a file has: (rest, channels, z); errors as `stack_pages`."""
    return _places(file).shape


def _places(file: Any) -> NDArray[np.int64]:
    """Return the number of each page of the first series: (rest, channels, z)."""
    series = file.series[0]
    lengths = {axis: n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in _OF_A_PAGE}
    if len(lengths) == 1 and set(lengths) <= set(_UNNAMED):
        lengths = dict(zip("Z", lengths.values(), strict=True))
    count = math.prod(lengths.values())
    there = len(planes_of(file, count))
    if there != count:
        raise DataError(f"{there} pages where the axes {series.axes} need {count}")
    order = [*(axis for axis in lengths if axis not in "CZ"), *(axis for axis in "CZ" if axis in lengths)]
    places = np.arange(count).reshape([*lengths.values()]).transpose([[*lengths].index(axis) for axis in order])
    return places.reshape(-1, lengths.get("C", 1), lengths.get("Z", 1))


def projected(planes: list[Pixels], z: str) -> Pixels:
    """Project planes along z, in their own dtype: a mean of integers is rounded."""
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
