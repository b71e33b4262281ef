"""Decode the formats of PIL to colour and alpha in the native dtype.

Traps, each tested: PIL's `convert` clips 16-bit grey to white and float to {0, 1}; PIL opens 16-bit colour PNG and TIFF
as 8-bit; it rescales JPEG 2000, and PGM whose maximum is not 2^n - 1; its limit on large images only warns at first.
"""

import re
import sys

import numpy as np
from PIL import Image, ImageFile

from dinocli.data.decoder_warnings import log_libtiff
from dinocli.data.image_formats import decoders
from dinocli.data.image_source import Source, decoder_input, read_source
from dinocli.data.jpeg2000 import SampleDepth, stored_samples
from dinocli.data.limits import Allowance
from dinocli.data.pil_content import check_content, correct_header, jpeg2000_depths, orientation_of, raw_mode
from dinocli.data.pixels import TRANSPOSING_ORIENTATIONS, Decoded, Pixels, append_alpha, apply_orientation
from dinocli.errors import DataError

log_libtiff()

RAW_CHANNELS_ADVICE = "save it as RGB, or read its raw samples, as --channels 0 or 0,1,2"
_MAX_JPEG_SCANS = 200  # of a progressive JPEG; encoders write about 10
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I", "F")
_SAMPLE_BYTES = {"I;16": 2, "I;16L": 2, "I;16B": 2, "I": 4, "F": 4}  # by PIL mode; 1 in all others

_PNM_MAGIC = (b"P2", b"P3", b"P5", b"P6")  # grey and colour as text, grey and colour as bytes
_SPACE = rb"(?:\s|#[^\n]*\n)+"
_PNM_HEADER = re.compile(rb"P([2356])" + _SPACE + rb"(\d+)" + _SPACE + rb"(\d+)" + _SPACE + rb"(\d+)\s")


def read_with_pil(
    source: Source, head: bytes, page: int, min_side: int, allowance: Allowance, file_bytes: int
) -> Decoded:
    """Read one frame.

    Args:
        source: Path or content of a file in one of the formats of `image_formats`.
        head: First bytes of the file.
        page: Frame, from 0.
        min_side: Minimum length of the shorter side, pixels; a JPEG may be downscaled to it.
        allowance: Memory limit, checked before the frame is decoded.
        file_bytes: Size of the file, bytes.

    Raises:
        DataError: No such frame, or more pixels than the file can hold.
        Exception: As raised by PIL on damaged files.
    """
    with Image.open(decoder_input(source), formats=decoders()) as image:
        check_claims(image, source, allowance, file_bytes)
        deep = _deep_pnm(source) if head[:2] in _PNM_MAGIC else None
        if deep is not None:
            return decoded(deep)
        if page:
            _seek(image, page)
            check_claims(image, source, allowance, file_bytes)  # a later frame can be larger than the first
        _decode_in_native_order(image)
        raw = raw_mode(image)
        if _loses_bits(image, raw):
            return _deep_colour(source, page, raw, image.info.get("transparency"))
        return from_pil(image, min_side)


def decoded(colour: Pixels, alpha: Pixels | None = None) -> Decoded:
    """Return pixels at their original size as `Decoded`."""
    return Decoded(np.ascontiguousarray(colour), (colour.shape[0], colour.shape[1]), alpha)


def check_claims(image: Image.Image, source: Source, allowance: Allowance, file_bytes: int) -> None:
    """Refuse an open image whose header claims an implausible size or number of scans.

    Raises:
        DataError: With the number.
    """
    sample_bytes = 2 if _has_16_bits(raw_mode(image)) else _SAMPLE_BYTES.get(image.mode, 1)
    nbytes = image.width * image.height * len(image.getbands()) * sample_bytes
    allowance.reserve(image.height, image.width, nbytes, file_bytes)
    if "progressive" in image.info:
        _check_scans(source)


def _check_scans(source: Source) -> None:
    """Refuse a JPEG of very many scans: a scan of a few bytes takes as long to decode as a whole image."""
    scans = read_source(source).count(b"\xff\xda")
    if scans > _MAX_JPEG_SCANS:
        raise DataError(f"a progressive JPEG of {scans} scans, more than {_MAX_JPEG_SCANS}: save it again")


def _seek(image: Image.Image, page: int) -> None:
    """Seek to a frame without counting frames first, which takes seconds in a long animation."""
    try:
        image.seek(page)
    except EOFError:
        raise DataError(f"page {page} of a file with {getattr(image, 'n_frames', 1)} (counted from 0)") from None


def from_pil(image: Image.Image, min_side: int) -> Decoded:
    """Load an open image of at most 8 bits or one deep channel; a JPEG may be downscaled, as in `read_with_pil`."""
    check_content(image)
    correct_header(image)
    depths = jpeg2000_depths(image)
    stored_size, scale = image.size, min_side / min(image.size)
    if scale < 1:
        image.draft(None, (int(image.width * scale) + 1, int(image.height * scale) + 1))
    drafted = image.size != stored_size
    image.load()
    orientation = orientation_of(image)  # after loading: PIL itself rotates TIFF while loading, and drops the tag
    colour, alpha = _unshifted(*_split_alpha(image), depths)
    colour = np.ascontiguousarray(apply_orientation(colour, orientation))
    alpha = None if alpha is None else apply_orientation(alpha, orientation)
    upright_size = stored_size if orientation in TRANSPOSING_ORIENTATIONS else stored_size[::-1]
    height, width = upright_size if drafted else colour.shape[:2]
    return Decoded(colour, (height, width), alpha)


def _split_alpha(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Convert a loaded PIL image to grey or RGB, (h, w, 1 or 3), and alpha; deep grey modes stay unchanged."""
    if image.mode in _DEEP_MODES:
        pixels = np.asarray(image)[..., None]
        return pixels, _alpha_from_key(pixels, image.info.get("transparency"))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        with_alpha = np.asarray(image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA"))
        return with_alpha[..., :-1], with_alpha[..., -1:]
    pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return pixels if pixels.ndim == 3 else pixels[..., None], None


def _unshifted(colour: Pixels, alpha: Pixels | None, depths: tuple[SampleDepth, ...]) -> tuple[Pixels, Pixels | None]:
    """Undo the shift of JPEG 2000 samples; `depths` are those of its components, empty for other formats."""
    if all(depth == SampleDepth(8, signed=False) for depth in depths):
        return colour, alpha
    samples, colours = stored_samples(append_alpha(colour, alpha), depths), colour.shape[-1]
    return samples[..., :colours], None if alpha is None else samples[..., colours:]


def _alpha_from_key(pixels: Pixels, transparent: object) -> Pixels | None:
    """Return the alpha of a 16-bit PNG with one transparent colour (tRNS), which PIL applies to 8 bits only."""
    if pixels.dtype != np.uint16 or not isinstance(transparent, int | tuple):
        return None
    return np.where((pixels == transparent).all(axis=-1, keepdims=True), np.uint16(0), np.uint16(65535))


def _decode_in_native_order(image: Image.Image) -> None:
    """Correct the byte order of a big-endian TIFF: libtiff gives native samples, PIL 13 would swap some of them."""
    if isinstance(image, ImageFile.ImageFile) and image.tile and image.tile[0].codec_name == "libtiff":
        raw = re.sub(r"(?<=;16|;32)B(?=[SF]$)", "N", raw_mode(image))
        image.tile = [t._replace(args=(raw, *t.args[1:])) if isinstance(t.args, tuple) else t for t in image.tile]


def _loses_bits(image: Image.Image, raw: str) -> bool:
    """Return whether PIL keeps 8 of 16 bits of a sample."""
    return _has_16_bits(raw) and image.mode not in _DEEP_MODES


def _has_16_bits(raw: str) -> bool:
    """Return whether samples have 16 bits by PIL's raw mode; BGR;16 of BMP has 16 bits per pixel."""
    return ";16" in raw and raw != "BGR;16"


def _deep_colour(source: Source, page: int, raw: str, transparent: object) -> Decoded:
    """Read 16-bit colour with PIL, which has no mode for it.

    PIL unpacks a 16-bit sample by keeping one of its two bytes: the first with the big-endian raw mode, the second with
    the little-endian one. So the file is decoded with both modes, and the bytes are combined.
    """
    colours, _, order = raw.partition(";16")
    if colours == "LA":  # always big-endian; its 4 bytes per pixel can be decoded as 8-bit RGBA
        both = _decode_as(source, page, "RGBA")
        first, second = both[..., 0::2], both[..., 1::2]
    elif colours in ("RGB", "RGBA"):
        first, second = (_decode_as(source, page, f"{colours};16{byte}") for byte in "BL")
    else:
        raise DataError(f"16-bit {colours} is not turned into RGB; {RAW_CHANNELS_ADVICE}")
    big = order == "B" or (order == "N" and sys.byteorder == "big")
    high, low = (first, second) if big else (second, first)
    pixels = high.astype(np.uint16)
    pixels <<= 8
    pixels |= low
    if colours == "RGB":
        return decoded(pixels, _alpha_from_key(pixels, transparent))
    return decoded(pixels[..., :-1], pixels[..., -1:])


def _decode_as(source: Source, page: int, raw: str) -> Pixels:
    """Decode a file with another PIL raw mode of the same number of bytes."""
    with Image.open(decoder_input(source), formats=decoders()) as image:
        if page:
            _seek(image, page)
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [t._replace(args=(raw, *t.args[1:]) if isinstance(t.args, tuple) else raw) for t in image.tile]
        image.load()
        return apply_orientation(np.asarray(image), orientation_of(image))


def _deep_pnm(source: Source) -> Pixels | None:
    """Read a PGM or PPM of more than 8 bits, which PIL rescales or truncates to 8 bits; None for others."""
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
        available = min(count, (len(content) - header.end()) // 2)
        values = np.frombuffer(content, ">u2", available, header.end())
    if len(values) < count:
        raise DataError("the file ends before the image does")
    return values.astype(np.uint16).reshape(height, width, samples)
