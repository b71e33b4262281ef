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

from dinocli.config.preprocess import PAGES, Channels
from dinocli.data.decoder_warnings import current, log_libtiff
from dinocli.data.image_formats import decoders
from dinocli.data.limits import Allowance, check_pixels
from dinocli.data.pixels import SWAPPING, Decoded, Pixels, joined, turned, with_channels
from dinocli.data.tiff import ForPil, is_tiff, read_tiff, tiff_pages, tiff_size
from dinocli.errors import DataError

# `Allowance` replaces PIL's own limit, which warns on stderr at a third of ours and knows no way out to name.
Image.MAX_IMAGE_PIXELS = None
log_libtiff()

_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I", "F")
_BYTES = {"I;16": 2, "I;16L": 2, "I;16B": 2, "I": 4, "F": 4}  # of one sample in PIL's modes, else 1

_GAP = rb"(?:\s|#[^\n]*\n)+"
_PNM_HEADER = re.compile(rb"P([56])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")


def read_native(path: str | Path, *, page: int = 0, channels: Channels = ()) -> Pixels:
    """Read one image in the dtype of the file.

    Nothing is scaled here, so that one range can be chosen for a whole dataset afterwards. Upright (EXIF turn);
    palettes, CMYK, YCbCr as RGB; alpha of 8 and 16 bits laid over white; fewer than 8 bits as uint8 0 to 255; TIFF
    negatives (white is zero) as positives; the asked page or frame of TIFF and GIF; truncated files are errors.

    Args:
        path: A file; the content decides on the format, not the suffix.
        page: Page or frame, counted from 0.
        channels: Channels to take, in this order, alpha being the last one; empty takes all of grey or RGB.

    Returns:
        (h, w, c), native dtype, c is 1 or 3, or the number of ``channels``.

    Raises:
        DataError: The reason alone, in one line; the caller knows and adds the name.
    """
    with Allowance() as allowance:
        found = decode(path, page=page, channels=channels, enough=sys.maxsize, allowance=allowance)
        return np.ascontiguousarray(found.flat())


def decode(path: str | Path, *, page: int, channels: Channels, enough: int, allowance: Allowance) -> Decoded:
    """Read one image, possibly smaller than it is, with its alpha and nodata apart.

    A JPEG decoder shrinks by 2, 4 or 8 for less than the price of a full decode.

    Args:
        path: As `read_native`, like the next two.
        page: Likewise.
        channels: Likewise.
        enough: Pixels of the shorter side that the caller needs; the result is never smaller than that.
        allowance: Asked for memory by what the header says.

    Raises:
        DataError: As `read_native`.
    """
    with _one_line_errors(path):
        return _decode(str(path), page, channels, enough, allowance)


def decode_in_memory(image: Image.Image | Pixels, *, channels: Channels, enough: int) -> Decoded:
    """Take an image that is in memory as `decode` takes a file.

    Args:
        image: A PIL image, or an array (h, w) or (h, w, c) of 1 or 3 channels, 4 with alpha, more with `channels`.
        channels: Channels to take, empty for grey or RGB.
        enough: As `decode`, for a JPEG that PIL has not decoded yet.

    Raises:
        DataError: An array of another shape, or a number of channels that is neither grey nor RGB.
    """
    if isinstance(image, Image.Image):
        return _with_channels(_from_pil(image, enough), channels)
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or not pixels.size or pixels.dtype.kind not in "uif":
        raise DataError(f"an array of shape {image.shape} and type {image.dtype} is no image; give (h, w) or (h, w, c)")
    if channels:
        return _with_channels(_decoded(pixels), channels)
    if pixels.shape[2] not in (1, 3, 4):
        raise DataError(f"an array of {pixels.shape[2]} channels is neither grey nor RGB; choose channels")
    return _decoded(pixels[..., :3], pixels[..., 3:]) if pixels.shape[2] == 4 else _decoded(pixels)


def image_size(path: str | Path, *, page: int = 0) -> tuple[int, int]:
    """Return (h, w) as stored, from the header alone; errors as `read_native`.

    The EXIF turn is left out: in a PNG it may stand behind the pixels, and finding it costs a full decode.
    """
    with _one_line_errors(path):
        if is_tiff(_head(str(path))):
            height, width = tiff_size(path, page)
        else:
            with Image.open(path, formats=decoders()) as image:
                width, height = image.size
        check_pixels(height, width)
        return height, width


def page_count(path: str | Path) -> tuple[int, int]:
    """Return how many pages or frames a file has, and which is the largest, by its headers; errors as `read_native`.

    Of other formats than TIFF more than one counts as 2: the frames of a long animation are not gone through.
    """
    with _one_line_errors(path):
        if is_tiff(_head(str(path))):
            return tiff_pages(path)
        with Image.open(path, formats=decoders()) as image:
            several = image.format != "MPO" and getattr(image, "is_animated", False)
            return (2 if several else 1), 0


@contextmanager
def _one_line_errors(path: str | Path) -> Iterator[None]:
    current.path = path
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:  # one file that asks for too much must not end the others
        raise DataError("there is not enough memory to decode it") from error
    except Exception as error:  # decoders meet broken files with nearly every class there is
        raise DataError(_reason(error)) from error


def _decode(path: str, page: int, channels: Channels, enough: int, allowance: Allowance) -> Decoded:
    head = _head(path)
    if not is_tiff(head):
        if channels == PAGES:
            raise DataError("--channels page is for TIFF files alone")
        return _with_channels(_through_pil(path, head, page, enough, allowance), channels)
    found = read_tiff(path, page, channels, allowance)
    if isinstance(found, Decoded):
        return found
    image = _through_pil(path, head, found.frame, enough, allowance)
    return _with_channels(_as_tagged(image, found), channels)


def _as_tagged(image: Decoded, tags: ForPil) -> Decoded:
    """Put what tifffile has read in the tags upon what PIL has decoded."""
    colour = image.colour
    if tags.negative and colour.dtype == np.uint16:
        colour = np.iinfo(np.uint16).max - colour
    return Decoded(colour, image.true, image.alpha, image.premultiplied, tags.nodata)


def _with_channels(image: Decoded, channels: Channels) -> Decoded:
    if not channels:
        return image
    return Decoded(
        with_channels(joined(image.colour, image.alpha), () if channels == PAGES else channels),
        image.true,
        nodata=image.nodata,
    )


def _through_pil(path: str, head: bytes, page: int, enough: int, allowance: Allowance) -> Decoded:
    with Image.open(path, formats=decoders()) as image:
        _ask(image, allowance, path)
        deep = _deep_pnm(path) if head[:2] in (b"P5", b"P6") else None
        if deep is not None:
            return _decoded(deep)
        if page:
            _seek(image, page)
            _ask(image, allowance, path)  # a frame can be larger than the first
        raw = _raw_mode(image)
        if _loses_bits(image, raw):
            return _deep_colour(path, page, raw)
        return _from_pil(image, enough)


def _decoded(colour: Pixels, alpha: Pixels | None = None) -> Decoded:
    return Decoded(np.ascontiguousarray(colour), (colour.shape[0], colour.shape[1]), alpha)


def _ask(image: Image.Image, allowance: Allowance, path: str) -> None:
    sample = 2 if ";16" in _raw_mode(image) else _BYTES.get(image.mode, 1)
    nbytes = image.width * image.height * len(image.getbands()) * sample
    allowance.ask(image.height, image.width, nbytes, os.path.getsize(path))


def _head(path: str) -> bytes:
    if stat.S_ISFIFO(os.stat(path).st_mode):  # opening it would wait for a writer
        raise DataError("a named pipe, not a file")
    with open(path, "rb") as file:
        head = file.read(4)
    if not head:
        raise DataError("the file is empty")
    return head


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(274, 1))


def _seek(image: Image.Image, page: int) -> None:
    """Go to a frame; the frames are never counted, which takes seconds in a long animation."""
    try:
        image.seek(page)
    except EOFError:
        raise DataError(f"page {page} of a file with {getattr(image, 'n_frames', 1)} (counted from 0)") from None


def _from_pil(image: Image.Image, enough: int) -> Decoded:
    stored, scale = image.size, enough / min(image.size)
    if scale < 1:
        image.draft(None, (int(image.width * scale) + 1, int(image.height * scale) + 1))
    drafted = image.size != stored
    image.load()
    orientation = _orientation(image)  # after loading: PIL itself turns TIFF while it loads, and drops the tag
    colour, alpha = _split(image)
    colour = np.ascontiguousarray(turned(colour, orientation))
    alpha = None if alpha is None else turned(alpha, orientation)
    true = colour.shape[:2] if not drafted else stored if orientation in SWAPPING else stored[::-1]
    return Decoded(colour, (true[0], true[1]), alpha)


def _split(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Turn any loaded PIL image into (h, w, 1 or 3) and alpha; deep grey modes pass through untouched."""
    if image.mode in _DEEP_MODES:
        return np.asarray(image)[..., None], None
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rich = np.asarray(image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA"))
        return rich[..., :-1], rich[..., -1:]
    pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return pixels if pixels.ndim == 3 else pixels[..., None], None


def _raw_mode(image: Image.Image) -> str:
    """Return PIL's name for the layout of the bytes in the file, or an empty string."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return ""
    args = image.tile[0].args
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _loses_bits(image: Image.Image, raw: str) -> bool:
    return ";16" in raw and image.mode not in _DEEP_MODES


def _deep_colour(path: str, page: int, raw: str) -> Decoded:
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
    pixels = high.astype(np.uint16)
    pixels <<= 8
    pixels |= low
    return _decoded(pixels) if colours == "RGB" else _decoded(pixels[..., :-1], pixels[..., -1:])


def _reread(path: str, page: int, raw: str) -> Pixels:
    """Decode a file with another layout of the same number of bytes than the one that PIL found."""
    with Image.open(path, formats=decoders()) as image:
        if page:
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
