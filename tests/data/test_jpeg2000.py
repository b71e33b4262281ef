"""Values of JPEG 2000 files of other bit depths than 8 and 16, made by changing the depth in a lossless file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinocli.data.decode import decode_in_memory, read_native
from dinocli.data.mask_reader import read_mask
from dinocli.data.sources import find_images
from dinocli.data.survey import survey
from dinocli.errors import DataError
from tests.data.files import Array, noise

_SIGNED = 128


def _jpeg2000(pixels: Array, bits: int, *, signed: bool = False, jp2: bool = True) -> bytes:
    """Encode values of a depth: the file of 8 or 16 bits is changed, in which zero is half of the range."""
    stored_bits = 8 * pixels.itemsize
    zero = (1 << (stored_bits - 1)) - (0 if signed else 1 << (bits - 1))
    stored = (pixels.astype(np.int64) + zero).astype(f"u{pixels.itemsize}")
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "JPEG2000", irreversible=False, no_jp2=not jp2)
    content, depth = bytearray(file.getvalue()), (bits - 1) | (_SIGNED if signed else 0)
    place = content.index(b"\xff\x4f\xff\x51") + 4
    for component in range(int.from_bytes(content[place + 36 : place + 38])):
        content[place + 38 + 3 * component] = depth
    if jp2:
        content[content.index(b"ihdr") + 14] = depth
    return bytes(content)


def _values(*shape: int, bits: int) -> Array:
    """Return all values of a depth, in order."""
    return (np.arange(np.prod(shape)).reshape(shape) % (1 << bits)).astype(np.uint16)


@pytest.mark.parametrize("jp2", [False, True])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_grey_keeps_its_values(tmp_path: Path, bits: int, *, jp2: bool) -> None:
    values = _values(64, 64, bits=bits)
    (tmp_path / "a.jp2").write_bytes(_jpeg2000(values, bits, jp2=jp2))
    read = read_native(tmp_path / "a.jp2")
    assert read.dtype == np.uint16
    assert np.array_equal(read[..., 0], values)
    with Image.open(tmp_path / "a.jp2") as image:
        assert np.array_equal(decode_in_memory(image, channels=(), min_side=9).colour[..., 0], values)


def test_12_bit_grey_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.jp2").write_bytes(_jpeg2000(_values(64, 64, bits=12), 12))
    assert "12-bit data in 16-bit files: range 0 to 4095" in survey(find_images([str(tmp_path)]), "minmax").notes


@pytest.mark.parametrize(("bits", "dtype"), [(8, "int8"), (12, "int16"), (16, "int16")])
def test_signed_grey_keeps_its_values(tmp_path: Path, bits: int, dtype: str) -> None:
    half = 1 << (bits - 1)
    values = (_values(64, 64, bits=bits).astype(np.int64) - half).astype(dtype)
    (tmp_path / "a.jp2").write_bytes(_jpeg2000(values, bits, signed=True))
    read = read_native(tmp_path / "a.jp2")
    assert read.dtype == dtype
    assert np.array_equal(read[..., 0], values)


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_fewer_than_8_bits_reach_255(tmp_path: Path, bits: int, channels: int) -> None:
    values = _values(40, 30, channels, bits=bits).astype(np.uint8)
    (tmp_path / "a.jp2").write_bytes(_jpeg2000(values[..., 0] if channels == 1 else values, bits))
    expected = np.rint(values * (255 / (2**bits - 1)))
    assert np.array_equal(read_native(tmp_path / "a.jp2", channels=tuple(range(channels))), expected)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_colour_is_refused(tmp_path: Path, channels: int) -> None:
    (tmp_path / "a.jp2").write_bytes(_jpeg2000(noise(40, 30, channels), 12))
    reason = f"JPEG 2000 of {channels} channels of 12 bits would lose bits: save it as TIFF or PNG"
    with pytest.raises(DataError, match=reason):
        read_native(tmp_path / "a.jp2")
    with pytest.raises(DataError, match=reason):
        read_mask(tmp_path / "a.jp2")


@pytest.mark.parametrize(
    ("pixels", "depth", "reason"),
    [
        (noise(40, 30, dtype="uint16"), {"bits": 20}, "1 channels of 20 bits would lose bits"),
        (noise(40, 30), {"bits": 9}, "1 channels of 9 bits would lose bits"),  # of which PIL keeps 8
        (noise(40, 30, 3), {"bits": 8, "signed": True}, "colour with negative values is not read"),
    ],
)
def test_other_depths_are_refused(tmp_path: Path, pixels: Array, depth: dict[str, Any], reason: str) -> None:
    (tmp_path / "a.jp2").write_bytes(_jpeg2000(pixels, **depth))
    with pytest.raises(DataError, match=f"{reason}: save it as TIFF or PNG"):
        read_native(tmp_path / "a.jp2")


def test_long_boxes_are_followed(tmp_path: Path) -> None:
    content, values = _jpeg2000(_values(64, 64, bits=12), 12), _values(64, 64, bits=12)
    place = content.index(b"jp2c") - 4
    box = bytes([0, 0, 0, 1]) + b"jp2c" + (len(content) - place + 8).to_bytes(8)
    free = (1 << 4).to_bytes(4) + b"free" + bytes(8)
    (tmp_path / "a.jp2").write_bytes(content[:place] + free + box + content[place + 8 :])
    assert np.array_equal(read_native(tmp_path / "a.jp2")[..., 0], values)
    (tmp_path / "b.jp2").write_bytes(content[:place] + bytes(4) + content[place + 4 :])  # up to the end of the file
    assert np.array_equal(read_native(tmp_path / "b.jp2")[..., 0], values)
