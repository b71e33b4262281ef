"""Checks and corrections of an image that PIL has opened and not decoded: PIL decodes some of them to wrong pixels."""

from collections.abc import Callable
from typing import IO, TypeVar

from PIL import Image, ImageFile, ImagePalette
from PIL.TiffImagePlugin import TiffImageFile

from dinocli.data.jpeg2000 import SampleDepth, check_depths, sample_depths
from dinocli.data.jpeg_end import is_zero_filled
from dinocli.data.tag_values import is_8_bit_map, valid_orientation
from dinocli.errors import DataError

_T = TypeVar("_T")
_ORIENTATION, _COLOUR_MAP = 274, 320  # tags
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


def correct_header(image: Image.Image) -> None:
    """Correct what PIL has read from the header of an open image before it is decoded."""
    if image.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = _decoded_key(image.info["transparency"], raw_mode(image))
    if isinstance(image, TiffImageFile) and image.mode in ("P", "PA") and _COLOUR_MAP in image.tag_v2:
        colours = image.tag_v2[_COLOUR_MAP]
        if is_8_bit_map(colours):
            image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _decoded_key(key: object, raw: str) -> object:
    """Return the transparent grey or colour of a PNG with at most 8 bits as the decoded pixels have it.

    PIL scales grey of 2 and 4 bits to 255, but not its key. Only the lower bits of a key count.
    """
    bits = {"L;2": 2, "L;4": 4, "L": 8, "RGB": 8}.get(raw, 0)
    if not bits or isinstance(key, bytes):
        return key
    white = (1 << bits) - 1
    if isinstance(key, tuple):
        return tuple(value & white for value in key)
    return (key & white) * 255 // white if isinstance(key, int) else key


def raw_mode(image: Image.Image) -> str:
    """Return PIL's raw mode of an open image: the byte layout in the file; empty if unknown."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return ""
    args = image.tile[0].args
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


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
