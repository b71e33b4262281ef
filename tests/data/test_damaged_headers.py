"""Files of other writers whose header says more, less or something else than decoders take it for."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from dinocli.data import decode
from dinocli.data.decode import read_native
from dinocli.data.limits import Allowance
from dinocli.errors import DataError
from tests.data.files import Array, noise


def jpeg2000(path: Path, pixels: Array, bits: int, *, signed: bool = False) -> Path:
    """Write 8-bit pixels as JPEG 2000 whose header claims other samples: `pixels` plus half of the other range."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG2000", no_jp2=path.suffix == ".j2k")
    content, value = bytearray(file.getvalue()), bits - 1 | signed << 7
    start = content.index(b"\xff\x4f\xff\x51")
    for number in range(struct.unpack_from(">H", content, start + 40)[0]):
        content[start + 42 + 3 * number] = value
    if (header := content.find(b"ihdr")) >= 0:
        content[header + 14] = value
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".jp2", ".j2k"])
@pytest.mark.parametrize(("bits", "signed"), [(10, False), (12, False), (16, False), (12, True)])
def test_grey_jpeg_2000_keeps_its_values(tmp_path: Path, suffix: str, bits: int, *, signed: bool) -> None:
    pixels = noise(40, 30)
    found = read_native(jpeg2000(tmp_path / f"a{suffix}", pixels, bits, signed=signed))
    shift = -128 if signed else (1 << bits - 1) - 128
    assert found.dtype == (np.int16 if signed else np.uint16)
    assert np.array_equal(found[..., 0], pixels.astype(np.int64) + shift)


def test_jpeg_2000_of_8_bits_is_read_and_deep_colour_is_refused(tmp_path: Path) -> None:
    for pixels in (noise(40, 30), noise(40, 30, 3)):
        found = read_native(jpeg2000(tmp_path / "a.jp2", pixels, 8))
        assert np.array_equal(found, pixels if pixels.ndim == 3 else pixels[..., None])
    few = read_native(jpeg2000(tmp_path / "few.jp2", noise(40, 30, top=15) + np.uint8(120), 4))
    assert few.max() == 255, "white of 4 bits"
    with pytest.raises(DataError, match="3 channels of 12 bits would lose bits: save it as TIFF or PNG"):
        read_native(jpeg2000(tmp_path / "b.jp2", noise(40, 30, 3), 12))


def test_a_jpeg_that_ends_in_zeros_is_an_interrupted_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(64, 64, 3)).save(path)
    content = path.read_bytes()
    expected = read_native(path)
    path.write_bytes(content + bytes(500))
    assert np.array_equal(read_native(path), expected), "padding behind the end of the image"
    for kept in (len(content) // 2, len(content) - 100):
        path.write_bytes(content[:kept] + bytes(len(content) - kept))
        with pytest.raises(DataError, match="an interrupted copy"):
            read_native(path)


@pytest.mark.parametrize(
    ("value", "kind", "turned"),
    [
        *((b"\x06", 1, True), (b"\x01", 1, False), (TiffImagePlugin.IFDRational(0, 0), 5, False)),
        *(("6", 2, True), ("top", 2, False), (9, 3, False), (0, 3, False)),
    ],
)
def test_an_orientation_of_another_type_is_no_error(tmp_path: Path, value: Any, kind: int, *, turned: bool) -> None:
    class Tag:
        def get(self, code: int, other: int) -> Any:
            return value if code == 274 else other

    pixels = noise(20, 40, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "getexif", lambda _: Tag())
        found = read_native(tmp_path / "a.png")
    assert found.shape == ((40, 20, 3) if turned else (20, 40, 3)), kind


def rgb565(path: Path, pixels: Array) -> Path:
    """Write a BMP of 16 bits a pixel: 5 bits of red and blue, 6 of green."""
    height, width = pixels.shape[:2]
    red, green, blue = (pixels[::-1, :, channel].astype(np.uint16) for channel in range(3))
    packed = (red >> 3 << 11) | (green >> 2 << 5) | blue >> 3
    data = packed.astype("<u2").tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3, len(data), 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    path.write_bytes(struct.pack("<2sIHHI", b"BM", 66 + len(data), 0, 0, 66) + header + masks + data)
    return path


def test_a_bmp_of_16_bits_a_pixel_is_colour(tmp_path: Path) -> None:
    pixels = noise(10, 8, 3)
    found = read_native(rgb565(tmp_path / "a.bmp", pixels))
    assert np.abs(found.astype(int) - pixels).max() <= 8


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_grey_of_a_png_of_few_bits_is_matched(tmp_path: Path, bits: int) -> None:
    levels = (np.arange(64).reshape(8, 8) % 2**bits).astype(np.uint8)
    bits_88b = np.unpackbits(levels[..., None], axis=-1)[..., -bits:]
    raw = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits_88b)
    (tmp_path / "a.png").write_bytes(png(8, 8, bits, raw, key=1))
    found = read_native(tmp_path / "a.png")[..., 0]
    assert (found[levels == 1] == 255).all(), "laid over white"
    assert np.array_equal(found[levels != 1], (levels * (255 // (2**bits - 1)))[levels != 1])


def png(width: int, height: int, bits: int, raw: bytes, key: int) -> bytes:
    """Return a grey PNG with one transparent value."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"tRNS", struct.pack(">H", key))
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def test_a_tiff_without_a_directory_is_called_damaged(tmp_path: Path) -> None:
    Image.fromarray(noise(64, 64)).save(tmp_path / "a.tif", compression="tiff_lzw")  # the directory is at the end
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="truncated or damaged"):
        read_native(tmp_path / "a.tif")


def test_a_tiff_palette_of_8_bit_values_is_not_black(tmp_path: Path) -> None:
    index, colours = noise(12, 10), noise(3, 256, dtype="uint16", top=255)
    for scale in (1, 257):
        path = tmp_path / f"{scale}.tif"
        tifffile.imwrite(path, index, photometric="palette", colormap=colours * np.uint16(scale))
        assert np.array_equal(read_native(path), colours.T[index]), scale


def test_pages_of_several_sizes_are_no_stack(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for shape in ((8, 9), (30, 40)):
            file.write(noise(*shape), photometric="minisblack")
    with Allowance() as allowance, pytest.raises(DataError, match="not a stack: use --page N in place of --z"):
        decode.decode(tmp_path / "a.tif", page=0, channels=(), min_side=99, allowance=allowance, z="max")
    assert read_native(tmp_path / "a.tif", page=1).shape == (30, 40, 1)


@pytest.mark.usefixtures("no_codecs")
@pytest.mark.parametrize("kind", ["unspecified", "assocalpha", "unassalpha"])
def test_a_band_behind_rgb_that_pil_drops_is_said(tmp_path: Path, kind: Any) -> None:
    pixels = noise(20, 30, 4)
    more: dict[str, Any] = {"photometric": "rgb", "extrasamples": [kind], "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **more)
    with Allowance() as allowance:
        found = decode.decode(tmp_path / "a.tif", page=0, channels=(), min_side=99, allowance=allowance)
    assert found.unread_channels == (kind == "unspecified")
    if kind == "unassalpha":
        assert np.array_equal(read_native(tmp_path / "a.tif", channels=(0, 1, 2, 3)), pixels)
        return
    with pytest.raises(DataError, match=r"needs imagecodecs: pip install 'dinocli\[tiff\]'"):
        read_native(tmp_path / "a.tif", channels=(0, 1, 2, 3))
    tifffile.imwrite(tmp_path / "b.tif", pixels.astype(np.uint16) * 200, **more)
    with pytest.raises(DataError, match="needs imagecodecs"):
        read_native(tmp_path / "b.tif")
