"""The transparent grey or colour of a PNG (tRNS), for each bit depth."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.data.decode import decode_in_memory, read_native
from dinocli.data.mask_reader import read_mask
from tests.data.files import Array, noise

_GREY, _COLOUR = 0, 2


def _png(path: Path, values: Array, bits: int, key: tuple[int, ...]) -> Path:
    """Write (h, w) or (h, w, 3) values of a bit depth with one transparent value."""
    height, width = values.shape[:2]
    samples = values.reshape(height, -1)
    digits = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(height, -1, 2), axis=-1)[..., 16 - bits :]
    rows = np.packbits(digits.reshape(height, -1), axis=-1)
    header = struct.pack(">IIBBBBB", width, height, bits, _GREY if values.ndim == 2 else _COLOUR, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = (b"IHDR", header), (b"tRNS", struct.pack(f">{len(key)}H", *key)), (b"IDAT", data), (b"IEND", b"")
    chunks = (struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_transparent_grey_becomes_white(tmp_path: Path, bits: int, place: str) -> None:
    top = (1 << bits) - 1
    key = {"first": 0, "middle": top // 2, "last": top}[place]
    values = noise(20, 30, dtype="uint16", top=top)
    values[0, :2] = key, top - key
    path = _png(tmp_path / "a.png", values, bits, (key,))
    white = 65535 if bits == 16 else 255
    expected = np.where(values == key, white, values * (white // top))
    assert np.array_equal(read_native(path)[..., 0], expected)
    alpha = read_native(path, channels=(1,))[..., 0]
    assert np.array_equal(alpha, np.where(values == key, 0, white))
    for _ in range(2):  # PIL decodes it once
        with Image.open(path) as image:
            first, again = (decode_in_memory(image, channels=(1,), min_side=99).colour for _ in range(2))
        assert np.array_equal(first[..., 0], alpha)
        assert np.array_equal(again[..., 0], alpha)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("steps", [(0, 1), (1, 0)])
def test_transparent_grey_of_a_mask_is_background(tmp_path: Path, bits: int, steps: tuple[int, int]) -> None:
    """Also if it is white, and the object black."""
    background, inside = (max(0, (1 << bits) - 1 - (bits > 1)) * step for step in steps)
    values = np.where(noise(20, 30, top=1) == 1, inside, background).astype(np.uint16)
    path = _png(tmp_path / "a.png", values, bits, (background,))
    assert np.array_equal(read_mask(path).labels_HW > 0, values == inside)


@pytest.mark.parametrize(("shape", "key"), [((20, 30), (0x0707,)), ((20, 30, 3), (0x0107, 0x0208, 0x0309))])
def test_upper_bits_of_an_8_bit_key_do_not_count(tmp_path: Path, shape: tuple[int, ...], key: tuple[int, ...]) -> None:
    values = noise(*shape)
    values[3, 4] = [value & 255 for value in key] if len(key) > 1 else key[0] & 255
    alpha = read_native(_png(tmp_path / "a.png", values, 8, key), channels=(len(key),))[..., 0]
    assert alpha[3, 4] == 0
    assert np.count_nonzero(alpha == 0) == np.count_nonzero((values == values[3, 4]).reshape(600, -1).all(axis=-1))
