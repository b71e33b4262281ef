"""NumPy arrays as images: `.npy`, and `.npz` with one array."""

import zipfile
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy

from dinocli.data.image_source import Source, decoder_input
from dinocli.data.limits import Allowance, check_pixels
from dinocli.data.pil_decode import decoded
from dinocli.data.pixels import Decoded, Pixels, unnamed_channels
from dinocli.errors import DataError

_MAX_CHANNELS_FIRST = 16  # a first axis of at most this length may be channels
_MAX_CHANNELS_LAST = 4  # a last axis of at most this length is channels
_NPY_MAGIC, _ZIP_MAGIC = b"\x93NUM", b"PK\3\4"


def is_array(path: str, head: bytes) -> bool:
    """Return whether a file is a NumPy array, by its first bytes; a zip file also needs the suffix `.npz`."""
    return head[:4] == _NPY_MAGIC or (head[:4] == _ZIP_MAGIC and path.lower().endswith(".npz"))


def array_size(source: Source) -> tuple[int, int]:
    """Return (h, w) from the header."""
    shape = _image_shape(_header(source)[0])
    check_pixels(*shape[:2])
    return shape[0], shape[1]


def is_channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether an array is (c, h, w), as in PyTorch and rasterio: at most 16 channels, more than 4 columns."""
    if len(shape) != 3:
        return False
    return shape[0] <= _MAX_CHANNELS_FIRST and shape[0] < min(shape[1:]) and shape[2] > _MAX_CHANNELS_LAST


def channels_last(pixels: Pixels) -> Pixels:
    """Return an array as (h, w, c) in native byte order; False and True become 0 and 255."""
    pixels = np.moveaxis(pixels, 0, -1) if is_channels_first(pixels.shape) else pixels
    pixels = pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0]) if is_channels_first(shape) else shape


def read_array(source: Source, *, any_channels: bool, allowance: Allowance, file_bytes: int) -> Decoded:
    """Read an array (h, w) or (h, w, c), or (c, h, w) if `is_channels_first`.

    Args:
        source: Path or content of the file.
        any_channels: Accept any number of channels, because the caller selects some; else 1, 3, or 4 with alpha.
        allowance: Memory limit, checked before the array is read.
        file_bytes: Size of the file, bytes.

    Raises:
        DataError: Another shape or type, or an archive of several arrays.
    """
    shape, dtype = _header(source)
    height, width = _image_shape(shape)[:2]
    allowance.reserve(height, width, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, file_bytes)
    pixels: Any = np.load(decoder_input(source), allow_pickle=False)
    if isinstance(pixels, np.lib.npyio.NpzFile):
        with pixels as archive:
            pixels = archive[archive.files[0]]
    pixels = channels_last(pixels)
    if any_channels or pixels.shape[2] in (1, 3):
        return replace(decoded(pixels), channels_first=is_channels_first(shape))
    if pixels.shape[2] != 4:
        raise DataError(unnamed_channels(pixels.shape[2]))
    return replace(decoded(pixels[..., :3], pixels[..., 3:]), channels_first=is_channels_first(shape))


def _header(source: Source) -> tuple[tuple[int, ...], np.dtype[Any]]:
    if zipfile.is_zipfile(decoder_input(source)):
        with zipfile.ZipFile(decoder_input(source)) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise DataError(f"an archive of {len(names)} arrays; save one array per file")
            with archive.open(names[0]) as file:
                return _shape(file)
    with BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        return _shape(file)


def _shape(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if len(shape) not in (2, 3) or dtype.kind not in "buif":
        raise DataError(
            f"an array of shape {shape} and type {dtype} is not an image: (h, w) or (h, w, channels) of numbers"
        )
    return shape, dtype
