"""Bits of the samples of a JPEG 2000 file, which PIL reads as 8 bits, or in grey shifted to 16."""

import struct
from typing import NamedTuple

import numpy as np

from dinocli.data.image_source import Source, read_start
from dinocli.data.pixels import Pixels
from dinocli.errors import DataError

_SIZE_MARKERS = b"\xff\x4f\xff\x51"  # start of the codestream, and its size segment
_HEADER_BYTES = 1 << 20  # boxes before the codestream, such as a colour profile
_COMPONENTS = 40  # offset of the number of components behind the markers' start


class SampleBits(NamedTuple):
    """Bits of one component.

    Args:
        bits: Number of bits.
        signed: Values are negative, too.
    """

    bits: int
    signed: bool


def sample_bits(source: Source) -> list[SampleBits]:
    """Return the bits of each component, from the header of the codestream; empty if there is none."""
    content = read_start(source, _HEADER_BYTES)
    start = content.find(_SIZE_MARKERS)
    if start < 0 or len(content) < start + _COMPONENTS + 2:
        return []
    (count,) = struct.unpack_from(">H", content, start + _COMPONENTS)
    places = [start + _COMPONENTS + 2 + 3 * number for number in range(count)]
    found = [content[place] for place in places if place < len(content)]
    return [SampleBits((value & 0x7F) + 1, bool(value & 0x80)) for value in found]


def native_samples(pixels: Pixels, bits: list[SampleBits]) -> Pixels:
    """Return the samples of a file from those of PIL, which are shifted to 8 bits, or to 16 and with an offset.

    Grey of more than 8 bits is returned as it is in the file, fewer bits scaled to 0 to 255.

    Raises:
        DataError: Several channels of more than 8 bits, of which PIL keeps 8.
    """
    most = max(bits, default=SampleBits(8, signed=False))
    if most.bits <= 8:
        white = 256 - (1 << 8 - most.bits)
        return pixels if white == 255 else np.rint(pixels.clip(0, white) * (255 / white)).astype(np.uint8)
    if len(bits) > 1 or pixels.dtype != np.uint16:
        raise DataError(
            f"JPEG 2000 of {len(bits)} channels of {most.bits} bits would lose bits: save it as TIFF or PNG"
        )
    samples = pixels >> max(0, 16 - most.bits)
    return (samples.astype(np.int32) - (1 << (most.bits - 1))).astype(np.int16) if most.signed else samples
