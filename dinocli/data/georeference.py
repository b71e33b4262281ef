"""Coordinate system and transform of GeoTIFF: copied to masks as tags, and applied to tiles.

Source: OGC GeoTIFF Standard 1.1; order and half-pixel shift of the transform as in GDAL.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import tifffile

from dinocli.data.image_source import decoder_input, image_source
from dinocli.data.raster_windows import split_window
from dinocli.data.tiff_pages import orientation, page_of
from dinocli.errors import DataError

_SCALE, _TIEPOINT, _MATRIX, _KEYS = 33550, 33922, 34264, 34735
_TAGS = {_SCALE: "d", _TIEPOINT: "d", _MATRIX: "d", _KEYS: "H", 34736: "d", 34737: "s"}
"""GeoTIFF tags and their TIFF types."""

_RASTER_TYPE, _GEOGRAPHIC, _PROJECTED = 1025, 2048, 3072  # GeoKeys
_POINT, _USER_DEFINED = 2, 32767  # values of GeoKeys

ExtraTag = tuple[int, str, int, object, bool]
"""A tag as `tifffile.imwrite` takes it."""


class Georeference(NamedTuple):
    """Place of an image on the ground.

    Args:
        tags: Its tags, to be written to another image of the same size.
        transform: x of the top left corner, x per column, x per row, y of that corner, y per column, y per row (GDAL's
            order); None if the tags give control points only.
        crs: Coordinate system, `EPSG:32633`; empty if the tags define one of their own.
    """

    tags: list[ExtraTag]
    transform: tuple[float, ...] | None
    crs: str

    def corners(self, box: Sequence[int]) -> tuple[float, float, float, float] | None:
        """Return x and y of the top left and of the bottom right corner of a box (left, top, width, height)."""
        if self.transform is None:
            return None
        left, top, width, height = box
        x0, x_column, x_row, y0, y_column, y_row = self.transform
        ends = ((left, top), (left + width, top + height))
        (x1, y1), (x2, y2) = (
            (x0 + x_column * column + x_row * row, y0 + y_column * column + y_row * row) for column, row in ends
        )
        return x1, y1, x2, y2


def georeference_of(path: str) -> Georeference | None:
    """Return the place of an image on the ground; None unless it is an upright GeoTIFF, by its suffix too."""
    if not path.lower().endswith((".tif", ".tiff")):
        return None
    path, box = split_window(path)
    try:
        with tifffile.TiffFile(decoder_input(image_source(path))) as file:
            first = page_of(file, 0)
            values = {code: first.tags[code].value for code in _TAGS if code in first.tags}
            upright = orientation(first) == 1
    except (OSError, ValueError, KeyError, IndexError, TypeError, struct.error, DataError, tifffile.TiffFileError):
        return None  # an image that cannot be read is reported by its reader
    if _KEYS not in values or not upright:
        return None
    if box:
        values = _moved(values, box[0], box[1])
    tags = [(code, _TAGS[code], 0 if _TAGS[code] == "s" else len(value), value, True) for code, value in values.items()]
    keys = _geo_keys(values[_KEYS])
    number = keys.get(_PROJECTED, keys.get(_GEOGRAPHIC, _USER_DEFINED))
    crs = f"EPSG:{number}" if number != _USER_DEFINED else ""
    return Georeference(tags, _transform(values, is_point=keys.get(_RASTER_TYPE) == _POINT), crs)


def _moved(values: dict[int, Any], left: int, top: int) -> dict[int, Any]:
    """Return the tags of a window whose corner is at (left, top), pixels."""
    moved = dict(values)
    if len(values.get(_MATRIX, ())) == 16:
        a, b, c, x0, d, e, f, y0, *rest = values[_MATRIX]
        moved[_MATRIX] = (a, b, c, x0 + a * left + b * top, d, e, f, y0 + d * left + e * top, *rest)
    points = [values.get(_TIEPOINT, ())[start : start + 6] for start in range(0, len(values.get(_TIEPOINT, ())), 6)]
    if points:
        moved[_TIEPOINT] = tuple(
            number for column, row, *rest in points for number in (column - left, row - top, *rest)
        )
    return moved


def _geo_keys(directory: Sequence[int]) -> dict[int, int]:
    """Return the GeoKeys whose value is in the directory itself."""
    entries = zip(*[iter(directory[4:])] * 4, strict=False)
    return {key: value for key, location, _, value in entries if location == 0}


def _transform(values: dict[int, tuple[float, ...]], *, is_point: bool) -> tuple[float, ...] | None:
    if len(values.get(_MATRIX, ())) == 16:
        matrix = values[_MATRIX]
        x0, x_column, x_row, y0, y_column, y_row = (matrix[place] for place in (3, 0, 1, 7, 4, 5))
    elif len(values.get(_TIEPOINT, ())) == 6 and len(values.get(_SCALE, ())) >= 2:
        (column, row, _, x, y, _), (width, height, *_) = values[_TIEPOINT], values[_SCALE]
        x0, x_column, x_row, y0, y_column, y_row = x - column * width, width, 0.0, y + row * height, 0.0, -height
    else:
        return None
    shift = 0.5 if is_point else 0.0  # the tie point is the middle of a pixel
    return (
        x0 - shift * (x_column + x_row),
        x_column,
        x_row,
        y0 - shift * (y_column + y_row),
        y_column,
        y_row,
    )
