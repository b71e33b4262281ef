"""Decode an image file to an array in its native dtype: tifffile for TIFF, pydicom, NumPy, and PIL for the rest."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from dinocli.config.preprocess import PAGES, Channels
from dinocli.data.array_file import array_size, channels_last, is_array, read_array
from dinocli.data.decode_errors import one_line_errors
from dinocli.data.dicom import dicom_frames, dicom_size, is_dicom, read_dicom
from dinocli.data.image_formats import decoders
from dinocli.data.image_source import decoder_input, image_source, read_head
from dinocli.data.limits import Allowance, check_pixels
from dinocli.data.pil_decode import RAW_CHANNELS_ADVICE, decoded, from_pil, read_with_pil
from dinocli.data.pixels import Decoded, Pixels, append_alpha, select_channels
from dinocli.data.raster_windows import split_window
from dinocli.data.tiff import TiffReading, is_tiff, read_tiff, tiff_pages, tiff_size
from dinocli.data.tiff_by_pil import NEEDS_CODECS, tagged_image
from dinocli.errors import DataError


def read_native(path: str | Path, *, page: int = 0, channels: Channels = ()) -> Pixels:
    """Read one image in its native dtype.

    Values are not scaled, so that one range can be chosen for a whole dataset. EXIF orientation is applied; palettes,
    CMYK and YCbCr become RGB; alpha is composited over white; fewer than 8 bits become uint8 from 0 to 255; TIFF
    with WhiteIsZero is inverted; truncated files are errors.

    Args:
        path: Image file; its content determines the format, not its suffix.
        page: Page or frame, from 0.
        channels: Channels to select, in this order; alpha is the last one. Empty reads grey or RGB.

    Returns:
        (h, w, c), native dtype; c is 1 or 3, or the number of ``channels``.

    Raises:
        DataError: The reason alone, in one line; the caller adds the file name.
    """
    with Allowance() as allowance:
        image = decode(path, page=page, channels=channels, min_side=sys.maxsize, allowance=allowance)
        return np.ascontiguousarray(image.without_alpha())


def decode(
    path: str | Path, *, page: int, channels: Channels, min_side: int, allowance: Allowance, z: str = ""
) -> Decoded:
    """Read one image, possibly downscaled, with alpha and nodata kept separate.

    The JPEG decoder downscales by 2, 4 or 8 in less time than a full decode takes.

    Args:
        path: As `read_native`.
        page: Page of a multi-page file, from 0.
        channels: Source channels; empty for grey or RGB.
        min_side: Minimum length of the shorter side, pixels, if the image has as many.
        allowance: Memory limit, checked by the header.
        z: As `Preprocess.z`.

    Raises:
        DataError: As `read_native`.
    """
    with one_line_errors(path):
        return _decode(str(path), page, channels, min_side, allowance, z)


def decode_in_memory(image: Image.Image | Pixels, *, channels: Channels, min_side: int) -> Decoded:
    """Convert an image in memory as `decode` converts a file.

    Args:
        image: PIL image, or array (h, w) or (h, w, c) with 1 or 3 channels, 4 with alpha, more with `channels`; also
            (c, h, w) if `is_channels_first`. Masked pixels of a NumPy masked array count as no measurement.
        channels: Channels to select; empty for grey or RGB. `PAGES` selects all channels of an array.
        min_side: As `decode`, for a JPEG that PIL has not decoded yet.

    Raises:
        DataError: Another object, a PIL image that cannot be decoded, or an array of another shape or number of
            channels.
    """
    if isinstance(image, Image.Image):
        with one_line_errors(getattr(image, "filename", "")):
            return _select_channels(from_pil(image, min_side), channels)
    if not isinstance(image, np.ndarray):
        raise DataError(f"a {type(image).__name__} is not an image; give a path, a PIL image or an array")
    if image.ndim not in (2, 3) or not image.size or image.dtype.kind not in "buif":
        raise DataError(
            f"an array of shape {image.shape} and type {image.dtype} is not an image; give (h, w) or (h, w, c)"
        )
    pixels = channels_last(image)
    if not channels and pixels.shape[2] not in (1, 3, 4):
        raise DataError(f"an array of {pixels.shape[2]} channels is neither grey nor RGB; choose channels")
    masked: Any = None
    if isinstance(pixels, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(pixels).all(axis=-1, keepdims=True)
    pixels = np.asarray(pixels)
    has_alpha = not channels and pixels.shape[2] == 4
    read = decoded(pixels[..., :3], pixels[..., 3:]) if has_alpha else decoded(pixels)
    read = replace(read, masked=masked)
    return read if channels == PAGES else _select_channels(read, channels)


def is_one_image(images: Any) -> bool:
    """Return whether `images` is an image: iterating over it would give letters or rows of pixels."""
    shape: tuple[int, ...] = getattr(images, "shape", ())  # of an array or a tensor
    pixels = len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3, 4))
    return pixels or isinstance(images, str | Path | Image.Image)


def image_size(path: str | Path, *, page: int = 0) -> tuple[int, int]:
    """Return (h, w) as stored, from the header; errors as `read_native`.

    EXIF orientation is not applied: a PNG may store it behind the pixels, where finding it costs a full decode.
    """
    with one_line_errors(path):
        if box := split_window(str(path))[1]:
            return box[3], box[2]
        source = image_source(str(path))
        head = read_head(source)[0]
        if is_dicom(head):
            height, width = dicom_size(source)
        elif is_tiff(head[:4]):
            height, width = tiff_size(source, page)
        elif is_array(str(path), head):
            height, width = array_size(source)
        else:
            with Image.open(decoder_input(source), formats=decoders()) as image:
                width, height = image.size
        check_pixels(height, width)
        return height, width


def page_count(path: str | Path, *, channels: Channels = (), z: str = "") -> tuple[int, int]:
    """Return the number of pages or frames and the index of the largest, from the headers; errors as `read_native`.

    Pages that named `channels` or `z` select (as in `Preprocess`) are not counted. Of formats that PIL reads, several
    frames count as 2: counting the frames of a long animation is slow.
    """
    with one_line_errors(path):
        source = image_source(str(path))
        head = read_head(source)[0]
        if is_dicom(head):
            return dicom_frames(source), 0
        if is_tiff(head[:4]):
            return tiff_pages(source, channels, z)
        if is_array(str(path), head):
            return 1, 0
        with Image.open(decoder_input(source), formats=decoders()) as image:
            several = image.format != "MPO" and getattr(image, "is_animated", False)
            return (2 if several else 1), 0


def _decode(path: str, page: int, channels: Channels, min_side: int, allowance: Allowance, z: str) -> Decoded:
    source = image_source(path)
    head, file_bytes = read_head(source)
    if is_dicom(head) or not is_tiff(head[:4]):  # the preamble of a DICOM may be the header of a TIFF
        if channels == PAGES:
            raise DataError("--channels page is for TIFF files alone")
        if z:
            raise DataError("--z is for stacks in TIFF files alone")
        if is_dicom(head):
            return _select_channels(read_dicom(source, page, allowance, file_bytes), channels)
        if is_array(path, head):
            any_channels = bool(channels)
            return _select_channels(
                read_array(source, any_channels=any_channels, allowance=allowance, file_bytes=file_bytes), channels
            )
        return _select_channels(read_with_pil(source, head, page, min_side, allowance, file_bytes), channels)
    page_or_tags = read_tiff(source, TiffReading(page, channels, z, split_window(path)[1]), allowance, file_bytes)
    if isinstance(page_or_tags, Decoded):
        dtype = page_or_tags.colour.dtype
        if dtype.kind not in "uif":
            raise DataError(f"pixels are {dtype}, not real numbers; save the amplitude or the phase")
        return page_or_tags
    tags = page_or_tags
    try:
        frames = [read_with_pil(source, head, frame, min_side, allowance, file_bytes) for frame in tags.frames]
    except UnidentifiedImageError:
        if tags.colours:
            raise DataError(f"its colour space ({tags.colours}) is not supported; {RAW_CHANNELS_ADVICE}") from None
        raise DataError(NEEDS_CODECS) from None
    except OSError as error:
        if "decoder error" not in str(error):
            raise
        raise DataError(f"it is damaged, or {NEEDS_CODECS}") from None
    return tagged_image(frames, tags, channels)


def _select_channels(image: Decoded, channels: Channels) -> Decoded:
    if not channels:
        return image
    pixels = select_channels(append_alpha(image.colour, image.alpha), channels)
    return replace(image, colour=pixels, alpha=None, premultiplied=False, unread_channels=0)
