"""Any image file -> its numbers, as stored.

The traps, each tested: PIL's `convert` clips 16-bit grey to white and float to {0, 1}; PIL opens 16-bit colour PNG and
TIFF as 8-bit; it rescales PGM files whose maximum is not a power of two; its limit on large images is a warning first.
"""

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from dinocli.data.image_formats import decoders
from dinocli.data.pixels import SWAPPING, Pixels, over_white, turned, with_channels
from dinocli.data.tiff import is_tiff, read_tiff, tiff_size, white_is_zero
from dinocli.errors import DataError

MAX_PIXELS = 2**29
"""Most pixels of one image, about 23,000 x 23,000: a few hundred bytes can claim to be far more."""

# `_check_size` replaces PIL's own limit, which warns on stderr at a third of this and knows no way out to name.
Image.MAX_IMAGE_PIXELS = None

_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I", "F")

_GAP = rb"(?:\s|#[^\n]*\n)+"
_PNM_HEADER = re.compile(rb"P([56])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")


def read_native(path: str | Path, *, page: int = 0, channels: tuple[int, ...] = ()) -> Pixels:
    """Read one image in the dtype of the file.

    Nothing is scaled here, so that one range can be chosen for a whole dataset afterwards. Upright (EXIF turn);
    palettes, CMYK, YCbCr as RGB; alpha of 8 and 16 bits laid over white; 1-bit as uint8 0 and 255; TIFF negatives
    (white is zero) as positives; the asked page or frame of TIFF and GIF; truncated files are errors.

    Args:
        path: A file; the content decides on the format, not the suffix.
        page: Page or frame, counted from 0.
        channels: Channels to take, counted from 0, in this order; empty takes all of grey or RGB.

    Returns:
        (h, w, c), native dtype, c is 1 or 3, or the number of ``channels``.

    Raises:
        DataError: The reason alone, in one line; the caller knows and adds the name.
    """
    return read_enough(path, page=page, channels=channels, enough=sys.maxsize)[0]


def read_enough(
    path: str | Path, *, page: int, channels: tuple[int, ...], enough: int
) -> tuple[Pixels, tuple[int, int]]:
    """Read one image, possibly smaller than it is.

    A JPEG decoder shrinks by 2, 4 or 8 for less than the price of a full decode.

    Args:
        path: As `read_native`, like the next two.
        page: Likewise.
        channels: Likewise.
        enough: Pixels of the shorter side that the caller needs; the result is never smaller than that.

    Returns:
        The pixels as `read_native` returns them, and the true (h, w), upright.

    Raises:
        DataError: As `read_native`.
    """
    with _one_line_errors():
        pixels, true = _decode(str(path), page, channels, enough)
        return np.ascontiguousarray(pixels), true


def image_size(path: str | Path, *, page: int = 0) -> tuple[int, int]:
    """Return (h, w) as stored, from the header alone; errors as `read_native`.

    The EXIF turn is left out: in a PNG it may stand behind the pixels, and finding it costs a full decode.
    """
    with _one_line_errors():
        if is_tiff(_head(str(path))):
            return tiff_size(path, page)
        with Image.open(path, formats=decoders()) as image:
            return image.height, image.width


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders meet broken files with nearly every class there is
        raise DataError(_reason(error)) from error


def _decode(path: str, page: int, channels: tuple[int, ...], enough: int) -> tuple[Pixels, tuple[int, int]]:
    head, negative = _head(path), False
    if is_tiff(head):
        _check_size(tiff_size(path, page))
        whole = read_tiff(path, page, channels)
        if whole is not None:
            return whole, whole.shape[:2]
        negative = white_is_zero(path, page)
    pixels, true = _through_pil(path, head, page, enough)
    if negative and pixels.dtype == np.uint16:
        pixels = np.iinfo(np.uint16).max - pixels
    return (with_channels(pixels, channels) if channels else pixels), true


def _through_pil(path: str, head: bytes, page: int, enough: int) -> tuple[Pixels, tuple[int, int]]:
    with Image.open(path, formats=decoders()) as image:
        _check_size(image.size)
        deep = _deep_pnm(path) if head[:2] in (b"P5", b"P6") else None
        if deep is None:
            _seek(image, page)
            raw = _raw_mode(image)
            if not _loses_bits(image, raw):
                return _from_pil(image, enough)
            deep = _deep_colour(path, page, raw)
        return deep, deep.shape[:2]


def _head(path: str) -> bytes:
    if stat.S_ISFIFO(os.stat(path).st_mode):  # opening it would wait for a writer
        raise DataError("a named pipe, not a file")
    with open(path, "rb") as file:
        head = file.read(4)
    if not head:
        raise DataError("the file is empty")
    return head


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{size[0]} x {size[1]} pixels are more than {MAX_PIXELS:,}; cut the image into tiles first")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(274, 1))


def _seek(image: Image.Image, page: int) -> None:
    frames = getattr(image, "n_frames", 1)
    if page >= frames:
        raise DataError(f"page {page} of a file with {frames} (counted from 0)")
    if page:
        image.seek(page)


def _from_pil(image: Image.Image, enough: int) -> tuple[Pixels, tuple[int, int]]:
    stored, scale = image.size, enough / min(image.size)
    if scale < 1:
        image.draft(None, (int(image.width * scale) + 1, int(image.height * scale) + 1))
    drafted = image.size != stored
    image.load()
    orientation = _orientation(image)  # after loading: PIL itself turns TIFF while it loads, and drops the tag
    pixels = turned(_flat(image), orientation)
    if not drafted:
        return pixels, pixels.shape[:2]
    return pixels, stored if orientation in SWAPPING else stored[::-1]


def _flat(image: Image.Image) -> Pixels:
    """Turn any loaded PIL image into (h, w, 1 or 3); deep grey modes pass through untouched."""
    if image.mode in _DEEP_MODES:
        return np.asarray(image)[..., None]
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rich = np.asarray(image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA"))
        return over_white(rich[..., :-1], rich[..., -1:])
    pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _raw_mode(image: Image.Image) -> str:
    """Return PIL's name for the layout of the bytes in the file, or an empty string."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return ""
    args = image.tile[0].args
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _loses_bits(image: Image.Image, raw: str) -> bool:
    return ";16" in raw and image.mode not in _DEEP_MODES


def _deep_colour(path: str, page: int, raw: str) -> Pixels:
    """Read 16-bit colour with PIL, which has no mode for it.

    PIL unpacks 16-bit samples by keeping one byte of the two: the first for the big-endian layout, the second for the
    little-endian one. So the file is decoded once as each, and the bytes are put together.
    """
    colours, _, order = raw.partition(";16")
    if colours == "LA":  # always big-endian, and its four bytes a pixel fit an 8-bit RGBA
        both = _reread(path, page, "RGBA")
        first, second = both[..., 0::2], both[..., 1::2]
    elif colours in ("RGB", "RGBA"):
        first, second = (_reread(path, page, f"{colours};16{byte}") for byte in "BL")
    else:
        raise DataError(f"16-bit {colours} cannot be read whole without imagecodecs: pip install 'dinocli[tiff]'")
    big = order == "B" or (order == "N" and sys.byteorder == "big")
    high, low = (first, second) if big else (second, first)
    pixels = high.astype(np.uint16) << 8 | low
    return pixels if colours == "RGB" else over_white(pixels[..., :-1], pixels[..., -1:])


def _reread(path: str, page: int, raw: str) -> Pixels:
    """Decode a file with another layout of the same number of bytes than the one that PIL found."""
    with Image.open(path, formats=decoders()) as image:
        _seek(image, page)
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [t._replace(args=(raw, *t.args[1:]) if isinstance(t.args, tuple) else raw) for t in image.tile]
        image.load()
        return turned(np.asarray(image), _orientation(image))


def _deep_pnm(path: str) -> Pixels | None:
    """Read a binary PGM or PPM of more than 8 bits; PIL would stretch the values, or cut colour to 8 bits."""
    with open(path, "rb") as file:
        content = file.read()
    header = _PNM_HEADER.match(content)
    if header is None or int(header[4]) < 256:
        return None
    width, height, samples = int(header[2]), int(header[3]), 3 if header[1] == b"6" else 1
    if len(content) < header.end() + 2 * width * height * samples:
        raise DataError("the file ends before the image does")
    values = np.frombuffer(content, ">u2", width * height * samples, header.end())
    return values.astype(np.uint16).reshape(height, width, samples)
