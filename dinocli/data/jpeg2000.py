"""Bit depth of JPEG 2000 files, which PIL does not tell.

PIL shifts samples to fill 8 bits, or 16 bits for grey of more than 8; colour of more than 8 bits loses the lower ones.
Signed samples get half of their range added.
"""

import struct
from dataclasses import dataclass
from typing import IO

import numpy as np

from dinocli.data.pixels import Pixels
from dinocli.errors import DataError

_CODESTREAM, _CONTAINER = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "  # start and SIZ marker; signature box
_SAVE_AGAIN = "save it as TIFF or PNG"


@dataclass(frozen=True)
class SampleDepth:
    """Samples of one component.

    Args:
        bits: Bits of a sample, with its sign.
        signed: Half of the values are negative.
    """

    bits: int
    signed: bool


def sample_depths(file: IO[bytes]) -> tuple[SampleDepth, ...]:
    """Return the depth of each component of a JPEG 2000 file, from its codestream; empty if it has none."""
    file.seek(0)
    head = file.read(8)
    if head.startswith(_CODESTREAM):
        file.seek(len(_CODESTREAM))
    elif not (head == _CONTAINER and _seek_codestream(file)):
        return ()
    size = file.read(38)
    if len(size) < 38:
        return ()
    stored = file.read(3 * int.from_bytes(size[36:38]))[::3]
    return tuple(SampleDepth((byte & 127) + 1, byte >= 128) for byte in stored)


def _seek_codestream(file: IO[bytes]) -> bool:
    """Seek behind the SIZ marker in the box of the codestream; return whether there is one."""
    start = 0
    while True:
        file.seek(start)
        header = file.read(16)
        if len(header) < 8:
            return False
        nbytes, kind = struct.unpack(">I4s", header[:8])
        header_bytes = 16 if nbytes == 1 else 8
        if kind == b"jp2c":
            file.seek(start + header_bytes)
            return file.read(len(_CODESTREAM)) == _CODESTREAM
        nbytes = int.from_bytes(header[8:]) if nbytes == 1 else nbytes
        if nbytes < header_bytes or start + nbytes >= 2**63:  # the last box, or a damaged one
            return False
        start += nbytes


def check_depths(depths: tuple[SampleDepth, ...], mode: str) -> None:
    """Refuse samples that are not whole in the PIL mode of their image.

    Raises:
        DataError: Too many bits, signed colour, or a palette that is not of 8 bits.
    """
    bits, most = max((depth.bits for depth in depths), default=8), 16 if mode == "I;16" else 8
    if bits > most:
        raise DataError(f"JPEG 2000 of {len(depths)} channels of {bits} bits would lose bits: {_SAVE_AGAIN}")
    if mode not in ("L", "I;16") and any(depth.signed for depth in depths):
        raise DataError(f"JPEG 2000 colour with negative values is not read: {_SAVE_AGAIN}")
    if mode not in ("L", "LA", "RGB", "RGBA", "I;16") and any(depth.bits != 8 for depth in depths):
        raise DataError(f"JPEG 2000 of {bits} bits in mode {mode} is not read: {_SAVE_AGAIN}")


def stored_samples(pixels: Pixels, depths: tuple[SampleDepth, ...]) -> Pixels:
    """Undo the shift of PIL.

    Args:
        pixels: (h, w, c) by PIL, uint8 or uint16, checked with `check_depths`.
        depths: Of each of the c channels.

    Returns:
        (h, w, c): values of 9 to 16 bits as uint16, 8 bits as uint8, fewer scaled to uint8 from 0 to 255; signed values
        of one channel as int16 or int8, not scaled.
    """
    bits, signed, shift = depths[0].bits, depths[0].signed, 8 * pixels.itemsize - depths[0].bits
    if signed:
        values = (pixels >> shift).astype(np.int32) - (1 << (bits - 1))
        return values.astype(np.int8 if bits <= 8 else np.int16)
    if pixels.dtype == np.uint16:
        pixels = pixels >> shift
        return pixels if bits > 8 else stored_samples((pixels << (8 - bits)).astype(np.uint8), depths)
    if all(depth.bits == 8 for depth in depths):
        return pixels
    whites = np.array([(1 << 8) - (1 << (8 - depth.bits)) for depth in depths])
    return np.rint(np.minimum(pixels * (255 / whites), 255)).astype(np.uint8)
