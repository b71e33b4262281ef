"""Whatever PIL can open -> colour and alpha in the dtype of the file.

The traps, each tested: PIL's `convert` clips 16-bit grey to white and float to {0, 1}; PIL opens 16-bit colour PNG and
TIFF as 8-bit; it rescales PGM files whose maximum is not a power of two; its limit on large images is a warning first.
"""

import re
import sys

import numpy as np
from PIL import Image, ImageFile

from dinocli.data.decoder_warnings import log_libtiff
from dinocli.data.image_formats import decoders
from dinocli.data.limits import Allowance
from dinocli.data.pixels import TRANSPOSING_ORIENTATIONS, Decoded, Pixels, apply_orientation
from dinocli.data.tar_shards import Source, decoder_input, read_source
from dinocli.errors import DataError

# `Allowance` replaces PIL's own limit, which warns on stderr at a third of ours and knows no way out to name.
Image.MAX_IMAGE_PIXELS = None
log_libtiff()

RAW_CHANNELS_ADVICE = "save it as RGB, or read its samples as they are, as --channels 0 or 0,1,2"
_MOST_SCANS = 200  # of a progressive JPEG; encoders write about ten
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I", "F")
_BYTES = {"I;16": 2, "I;16L": 2, "I;16B": 2, "I": 4, "F": 4}  # of one sample in PIL's modes, else 1

_PNM = (b"P2", b"P3", b"P5", b"P6")  # grey and colour, as text and as bytes
_GAP = rb"(?:\s|#[^\n]*\n)+"
_PNM_HEADER = re.compile(rb"P([2356])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")


def read_with_pil(source: Source, head: bytes, page: int, min_side: int, allowance: Allowance, stored: int) -> Decoded:
    """Read one frame.

    Args:
        source: A file of one of the formats in `image_formats`.
        head: Its first bytes.
        page: Frame, counted from 0.
        min_side: Pixels of the shorter side that the caller needs; a JPEG may come back smaller than it is.
        allowance: Asked before anything is decoded.
        stored: Size of the file, bytes.

    Raises:
        DataError: No such frame, or a file that claims too much.
        Exception: What PIL raises for damaged files.
    """
    with Image.open(decoder_input(source), formats=decoders()) as image:
        check_claims(image, source, allowance, stored)
        deep = _deep_pnm(source) if head[:2] in _PNM else None
        if deep is not None:
            return decoded(deep)
        if page:
            _seek(image, page)
            check_claims(image, source, allowance, stored)  # a frame can be larger than the first
        raw = _raw_mode(image)
        if _loses_bits(image, raw):
            return _deep_colour(source, page, raw, image.info.get("transparency"))
        return from_pil(image, min_side)


def decoded(colour: Pixels, alpha: Pixels | None = None) -> Decoded:
    """Return pixels that have their true size as `Decoded`."""
    return Decoded(np.ascontiguousarray(colour), (colour.shape[0], colour.shape[1]), alpha)


def check_claims(image: Image.Image, source: Source, allowance: Allowance, stored: int) -> None:
    """Refuse an open image whose header claims more memory or work than its file can be worth.

    Raises:
        DataError: With the number.
    """
    sample = 2 if ";16" in _raw_mode(image) else _BYTES.get(image.mode, 1)
    nbytes = image.width * image.height * len(image.getbands()) * sample
    allowance.reserve(image.height, image.width, nbytes, stored)
    if "progressive" in image.info:
        _check_scans(source)


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(274, 1))


def _check_scans(source: Source) -> None:
    """Refuse a JPEG of endless scans: each of them, of a few bytes, takes as long as a whole image."""
    scans = read_source(source).count(b"\xff\xda")
    if scans > _MOST_SCANS:
        raise DataError(f"a progressive JPEG of {scans} scans, more than {_MOST_SCANS}: save it anew")


def _seek(image: Image.Image, page: int) -> None:
    """Go to a frame; the frames are never counted, which takes seconds in a long animation."""
    try:
        image.seek(page)
    except EOFError:
        raise DataError(f"page {page} of a file with {getattr(image, 'n_frames', 1)} (counted from 0)") from None


def from_pil(image: Image.Image, min_side: int) -> Decoded:
    """Load an open image of at most 8 bits or one deep channel; a JPEG may come back smaller, as in `read_with_pil`."""
    stored, scale = image.size, min_side / min(image.size)
    if scale < 1:
        image.draft(None, (int(image.width * scale) + 1, int(image.height * scale) + 1))
    drafted = image.size != stored
    image.load()
    orientation = _orientation(image)  # after loading: PIL itself turns TIFF while it loads, and drops the tag
    colour, alpha = _split(image)
    colour = np.ascontiguousarray(apply_orientation(colour, orientation))
    alpha = None if alpha is None else apply_orientation(alpha, orientation)
    true = colour.shape[:2] if not drafted else stored if orientation in TRANSPOSING_ORIENTATIONS else stored[::-1]
    return Decoded(colour, (true[0], true[1]), alpha)


def _split(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Turn any loaded PIL image into (h, w, 1 or 3) and alpha; deep grey modes pass through untouched."""
    if image.mode in _DEEP_MODES:
        pixels = np.asarray(image)[..., None]
        return pixels, _alpha_of_colour(pixels, image.info.get("transparency"))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rich = np.asarray(image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA"))
        return rich[..., :-1], rich[..., -1:]
    pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return pixels if pixels.ndim == 3 else pixels[..., None], None


def _alpha_of_colour(pixels: Pixels, transparent: object) -> Pixels | None:
    """Return alpha where a PNG of 16 bits names one transparent colour, which PIL applies to 8 bits alone."""
    if pixels.dtype != np.uint16 or not isinstance(transparent, int | tuple):
        return None
    return np.where((pixels == transparent).all(axis=-1, keepdims=True), np.uint16(0), np.uint16(65535))


def _raw_mode(image: Image.Image) -> str:
    """Return PIL's name for the layout of the bytes in the file, or an empty string."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return ""
    args = image.tile[0].args
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _loses_bits(image: Image.Image, raw: str) -> bool:
    return ";16" in raw and image.mode not in _DEEP_MODES


def _deep_colour(source: Source, page: int, raw: str, transparent: object) -> Decoded:
    """Read 16-bit colour with PIL, which has no mode for it.

    PIL unpacks 16-bit samples by keeping one byte of the two: the first for the big-endian layout, the second for the
    little-endian one. So the file is decoded once as each, and the bytes are put together.
    """
    colours, _, order = raw.partition(";16")
    if colours == "LA":  # always big-endian, and its four bytes a pixel fit an 8-bit RGBA
        both = _reread(source, page, "RGBA")
        first, second = both[..., 0::2], both[..., 1::2]
    elif colours in ("RGB", "RGBA"):
        first, second = (_reread(source, page, f"{colours};16{byte}") for byte in "BL")
    else:
        raise DataError(f"16-bit {colours} is not turned into RGB; {RAW_CHANNELS_ADVICE}")
    big = order == "B" or (order == "N" and sys.byteorder == "big")
    high, low = (first, second) if big else (second, first)
    pixels = high.astype(np.uint16)
    pixels <<= 8
    pixels |= low
    if colours == "RGB":
        return decoded(pixels, _alpha_of_colour(pixels, transparent))
    return decoded(pixels[..., :-1], pixels[..., -1:])


def _reread(source: Source, page: int, raw: str) -> Pixels:
    """Decode a file with another layout of the same number of bytes than the one that PIL found."""
    with Image.open(decoder_input(source), formats=decoders()) as image:
        if page:
            _seek(image, page)
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [t._replace(args=(raw, *t.args[1:]) if isinstance(t.args, tuple) else raw) for t in image.tile]
        image.load()
        return apply_orientation(np.asarray(image), _orientation(image))


def _deep_pnm(source: Source) -> Pixels | None:
    """Read a PGM or PPM of more than 8 bits; PIL would stretch the values, or cut colour to 8 bits."""
    content = read_source(source)
    header = _PNM_HEADER.match(content)
    if header is None or not 256 <= int(header[4]) <= 65535:
        return None
    width, height, samples = int(header[2]), int(header[3]), 3 if header[1] in b"36" else 1
    count = width * height * samples
    if header[1] in b"23":
        words = re.sub(rb"#[^\n]*", b"", content[header.end() :]).split(maxsplit=count)[:count]
        values = np.array(words).astype(np.uint16) if words else np.empty(0, np.uint16)
    else:
        there = min(count, (len(content) - header.end()) // 2)
        values = np.frombuffer(content, ">u2", there, header.end())
    if len(values) < count:
        raise DataError("the file ends before the image does")
    return values.astype(np.uint16).reshape(height, width, samples)
