"""NumPy arrays as images: `.npy`, and `.npz` with one array in it."""

import zipfile
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy

from dinocli.data.limits import Allowance, check_pixels
from dinocli.data.pil_decode import decoded
from dinocli.data.pixels import Decoded
from dinocli.data.tar_shards import Source, for_decoder
from dinocli.errors import DataError

_NPY, _ZIP = b"\x93NUM", b"PK\3\4"


def is_array(path: str, head: bytes) -> bool:
    """Tell from a file's name and first bytes whether it is an array; a zip of another name is something else."""
    return head[:4] == _NPY or (head[:4] == _ZIP and path.lower().endswith(".npz"))


def array_size(source: Source) -> tuple[int, int]:
    """Return (h, w) from the header."""
    shape, _ = _header(source)
    check_pixels(*shape[:2])
    return shape[0], shape[1]


def read_array(source: Source, *, any_channels: bool, allowance: Allowance, stored: int) -> Decoded:
    """Read an array (h, w) or (h, w, c).

    Args:
        source: Of the file.
        any_channels: Channels will be chosen, so that there may be any number of them; else 1, 3, or 4 with alpha.
        allowance: Asked before anything is read.
        stored: Size of the file, bytes.

    Raises:
        DataError: An array of another shape or type, or an archive of several.
    """
    shape, dtype = _header(source)
    allowance.ask(shape[0], shape[1], int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, stored)
    pixels: Any = np.load(for_decoder(source), allow_pickle=False)
    if isinstance(pixels, np.lib.npyio.NpzFile):
        with pixels as archive:
            pixels = archive[archive.files[0]]
    pixels = pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if any_channels or pixels.shape[2] in (1, 3):
        return decoded(pixels)
    if pixels.shape[2] != 4:
        raise DataError(f"{pixels.shape[2]} channels are neither grey nor RGB; choose some with --channels")
    return decoded(pixels[..., :3], pixels[..., 3:])


def _header(source: Source) -> tuple[tuple[int, ...], np.dtype[Any]]:
    if zipfile.is_zipfile(for_decoder(source)):
        with zipfile.ZipFile(for_decoder(source)) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise DataError(f"an archive of {len(names)} arrays; an image is one of its own")
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
            f"an array of shape {shape} and type {dtype} is no image: (h, w) or (h, w, channels) of numbers"
        )
    return shape, dtype
