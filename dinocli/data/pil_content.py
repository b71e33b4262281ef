"""Checks of the content of an image that PIL has opened and not decoded: PIL decodes some of it to wrong pixels."""

from collections.abc import Callable
from typing import IO, TypeVar

from PIL import Image

from dinocli.data.jpeg2000 import SampleDepth, check_depths, sample_depths
from dinocli.data.jpeg_end import is_zero_filled
from dinocli.data.tag_values import valid_orientation
from dinocli.errors import DataError

_T = TypeVar("_T")
_ORIENTATION = 274  # tag
_TURN = Image.Transpose
_TURNS = {
    2: _TURN.FLIP_LEFT_RIGHT,
    3: _TURN.ROTATE_180,
    4: _TURN.FLIP_TOP_BOTTOM,
    5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270,
    7: _TURN.TRANSVERSE,
    8: _TURN.ROTATE_90,
}


def check_content(image: Image.Image) -> None:
    """Refuse an open image that PIL would decode to wrong pixels without an error.

    Raises:
        DataError: What is wrong.
    """
    if image.format in ("JPEG", "MPO") and _in_file(image, is_zero_filled):
        raise DataError("the file ends in zeros, without the end of the image: an interrupted copy")
    check_depths(jpeg2000_depths(image), image.mode)


def jpeg2000_depths(image: Image.Image) -> tuple[SampleDepth, ...]:
    """Return the depth of each component of an open JPEG 2000; empty for other formats and decoded images."""
    return (_in_file(image, sample_depths) or ()) if image.format == "JPEG2000" else ()


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, as `valid_orientation`."""
    return valid_orientation(image.getexif().get(_ORIENTATION, 1))


def upright(image: Image.Image) -> Image.Image:
    """Decode an image, and turn it upright by its EXIF orientation."""
    image.load()  # PIL itself turns TIFF while loading, and drops the tag
    turn = _TURNS.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)


def _in_file(image: Image.Image, read: Callable[[IO[bytes]], _T]) -> _T | None:
    """Read from the file of an open image, whose position does not change; None if the image is decoded."""
    file: IO[bytes] | None = getattr(image, "fp", None)
    if file is None or file.closed:
        return None
    place = file.tell()
    try:
        return read(file)
    finally:
        file.seek(place)
