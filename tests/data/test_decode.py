"""Every kind of file against the numbers that were written."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinocli.data import decode
from dinocli.data.decode import image_size, read_enough, read_native
from dinocli.errors import DataError
from tests.data.files import Array, deep_png, noise, save


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_8_bit_colour_is_exact(tmp_path: Path, suffix: str) -> None:
    pixels = noise(7, 5, 3)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, lossless=True)  # read by WebP alone
    assert np.array_equal(read_native(path), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_png_keeps_every_value(tmp_path: Path, channels: int) -> None:
    pixels = noise(40, 50, channels, dtype="uint16")
    (tmp_path / "a.png").write_bytes(deep_png(pixels))
    read = read_native(tmp_path / "a.png")
    assert read.dtype == np.uint16
    assert np.array_equal(read, pixels)


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_alpha_is_laid_over_white(tmp_path: Path, channels: int) -> None:
    pixels = noise(6, 5, channels, dtype="uint16")
    pixels[0, :, -1], pixels[1, :, -1] = 0, 65535
    (tmp_path / "a.png").write_bytes(deep_png(pixels))
    read = read_native(tmp_path / "a.png")
    share = pixels[..., -1:] / 65535
    assert np.abs(read - (pixels[..., :-1] * share + 65535 * (1 - share))).max() <= 1
    assert (read[0] == 65535).all()
    assert np.array_equal(read[1], pixels[1, :, :-1])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_8_bit_alpha_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (2, 2), (100, 51) if mode == "LA" else (100, 0, 200, 51)).save(tmp_path / "a.png")
    expected = [224] if mode == "LA" else [224, 204, 244]  # 51 of 255 is a fifth
    assert read_native(tmp_path / "a.png")[0, 0].tolist() == expected


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palette_becomes_rgb_and_its_transparency_white(tmp_path: Path, suffix: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / f"a.{suffix}")
    assert read_native(tmp_path / f"a.{suffix}")[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    image.save(tmp_path / f"b.{suffix}", transparency=1)
    assert read_native(tmp_path / f"b.{suffix}")[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_transparent_colour_of_a_grey_png_becomes_white(tmp_path: Path) -> None:
    image = Image.new("L", (2, 1))
    image.putdata([7, 90])
    image.save(tmp_path / "a.png", transparency=7)
    assert read_native(tmp_path / "a.png")[0].tolist() == [[255], [90]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_1_bit_is_black_and_white(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / f"a.{suffix}")
    read = read_native(tmp_path / f"a.{suffix}")
    assert read.dtype == np.uint8
    assert read[..., 0].tolist() == [[255, 0]]


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / f"a.{suffix}")
    assert np.abs(read_native(tmp_path / f"a.{suffix}")[0, 0].astype(int) - [255, 0, 0]).max() <= 3


TURNS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_exif_turn(tmp_path: Path, suffix: str, orientation: int) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :8], pixels[8:, :8] = 255, 120
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif, quality=100)
    expected = TURNS[orientation](pixels)
    read = read_native(tmp_path / f"a.{suffix}")
    assert read.shape == expected.shape
    assert np.abs(read.astype(int) - expected).max() < 12
    assert image_size(tmp_path / f"a.{suffix}") == (16, 32)


@pytest.mark.parametrize("orientation", [3, 6])
def test_turn_of_a_deep_tiff(tmp_path: Path, orientation: int) -> None:
    pixels = noise(4, 6, 3, dtype="uint16")
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=tag)
    assert np.array_equal(read_native(tmp_path / "a.tif"), TURNS[orientation](pixels))
    assert image_size(tmp_path / "a.tif") == (4, 6)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float16", "float32", "float64"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_keeps_dtype_and_values(tmp_path: Path, dtype: str, order: str) -> None:
    values = np.array([[0, 1, 1000, 4095], [30000, 5, 6, 7]]).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order)
    read = read_native(tmp_path / "a.tif")
    assert read.dtype == np.dtype(dtype)
    assert np.array_equal(read[..., 0], values)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_rgb_tiff(tmp_path: Path, planar: str, compression: str | None) -> None:
    pixels = noise(9, 8, 3, dtype="uint16")
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, compression=compression)
    assert np.array_equal(read_native(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_chosen_channels_of_many(tmp_path: Path, planar: str) -> None:
    pixels = noise(9, 8, 7, dtype="uint16")
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar)
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=(5, 0, 6)), pixels[..., [5, 0, 6]])
    with pytest.raises(DataError, match=r"7 channels.*--channels 0,1,2"):
        read_native(tmp_path / "a.tif")
    with pytest.raises(DataError, match="channel 7 of an image with 7"):
        read_native(tmp_path / "a.tif", channels=(7,))


def test_channels_of_an_ordinary_image(tmp_path: Path) -> None:
    pixels = noise(4, 4, 3)
    path = save(tmp_path / "a.png", pixels)
    assert np.array_equal(read_native(path, channels=(2,)), pixels[..., 2:])
    with pytest.raises(DataError, match="channel 3"):
        read_native(path, channels=(3,))


def test_pages_and_channels_stored_as_pages(tmp_path: Path) -> None:
    pages = noise(4, 6, 5, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    assert np.array_equal(read_native(tmp_path / "a.tif", page=2)[..., 0], pages[2])
    assert np.array_equal(read_native(tmp_path / "a.tif", page=1, channels=(2, 0)), pages[[3, 1]].transpose(1, 2, 0))
    with pytest.raises(DataError, match="page 4 of a file with 4"):
        read_native(tmp_path / "a.tif", page=4)


def test_gif_frames(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_native(tmp_path / "a.gif").max() == 0
    assert read_native(tmp_path / "a.gif", page=1).min() == 255
    with pytest.raises(DataError, match="page 2 of a file with 2"):
        read_native(tmp_path / "a.gif", page=2)


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535)])
def test_tiff_negative_is_read_as_positive(tmp_path: Path, dtype: str, white: int) -> None:
    pixels = noise(4, 5, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    assert np.array_equal(read_native(tmp_path / "a.tif")[..., 0], white - pixels)


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535)])
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_fourth_sample_of_a_tiff(tmp_path: Path, kind: str, dtype: str, white: int) -> None:
    pixels = np.full((2, 2, 4), white // 5, dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[kind])
    over = {"unassalpha": 0.2 * 0.2 + 0.8, "assocalpha": 1.0, "unspecified": 0.2}[kind]
    assert np.abs(read_native(tmp_path / "a.tif") - over * white).max() <= 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_lzw_tiff_needs_no_extra_package(tmp_path: Path, dtype: str) -> None:
    pixels = noise(30, 20, dtype=dtype)
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression="tiff_lzw")
    read = read_native(tmp_path / "a.tif")
    assert read.dtype == pixels.dtype
    assert np.array_equal(read[..., 0], pixels)


def test_16_bit_colour_tiff_through_pil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that LZW colour goes where tifffile cannot decompress it; PIL itself cannot write such a file."""
    pixels = noise(9, 8, 3, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="zlib")
    monkeypatch.setattr(decode, "read_tiff", lambda *_: None)
    assert np.array_equal(read_native(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("top", [4095, 65535])
@pytest.mark.parametrize(("magic", "channels"), [("P5", 1), ("P6", 3)])
def test_16_bit_pnm_is_not_stretched(tmp_path: Path, magic: str, channels: int, top: int) -> None:
    pixels = noise(3, 4, channels, dtype="uint16", top=4095)
    header = f"{magic}\n# from a detector\n4 3\n{top}\n".encode()
    (tmp_path / "a.pgm").write_bytes(header + pixels.astype(">u2").tobytes())
    assert np.array_equal(read_native(tmp_path / "a.pgm"), pixels)


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    pixels = noise(4, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    assert np.array_equal(read_native(tmp_path / "a.tif"), pixels)


def test_jpeg_is_not_shrunk_below_what_is_enough(tmp_path: Path) -> None:
    Image.fromarray(noise(600, 800, 3)).save(tmp_path / "a.jpg")
    assert read_native(tmp_path / "a.jpg").shape == (600, 800, 3)
    for enough, expected in ((140, (150, 200, 3)), (160, (300, 400, 3))):
        pixels, true = read_enough(tmp_path / "a.jpg", page=0, channels=(), enough=enough)
        assert (pixels.shape, true) == (expected, (600, 800))
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(600, 800, 3)).save(tmp_path / "b.jpg", exif=exif)
    pixels, true = read_enough(tmp_path / "b.jpg", page=0, channels=(), enough=140)
    assert (pixels.shape, true) == ((200, 150, 3), (800, 600))


def test_the_size_of_a_png_is_read_without_decoding(tmp_path: Path) -> None:
    content = deep_png(noise(9, 7, 3, dtype="uint16"))
    (tmp_path / "a.png").write_bytes(content[:60])
    assert image_size(tmp_path / "a.png") == (9, 7)


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp", "gif", "ppm"])
def test_truncated_files_are_errors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise(64, 64, 3)).save(path)
    path.write_bytes(_half(path.read_bytes()))
    with pytest.raises(DataError):
        read_native(path)


def test_truncated_deep_files_are_errors(tmp_path: Path) -> None:
    pixels = noise(64, 64, 3, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="rgb", compression="zlib")
    (tmp_path / "c.png").write_bytes(deep_png(pixels))
    (tmp_path / "d.pgm").write_bytes(b"P5 64 64 65535\n" + pixels[..., 0].tobytes())
    for name in ("a.tif", "b.tif", "c.png", "d.pgm"):
        path = tmp_path / name
        path.write_bytes(_half(path.read_bytes()))
        with pytest.raises(DataError):
            read_native(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"no image at all", "not an image"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image")],
)
def test_what_is_no_image_says_so(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_native(tmp_path / "a.png")
    with pytest.raises(DataError, match=reason):
        image_size(tmp_path / "a.png")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_native(tmp_path / "a.png")
    with pytest.raises(DataError, match="directory"):
        read_native(tmp_path)


def _claim(pixels: Array, width: int, height: int) -> bytes:
    """Let a BMP of a few bytes claim a size of its own."""
    content = bytearray(b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 1, 1, 0, 0))
    content[10:14] = struct.pack("<I", 54)
    return bytes(content) + pixels.tobytes()


def test_a_file_that_claims_too_many_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(_claim(noise(4), 30_000, 30_000))
    with pytest.raises(DataError, match=r"30000 x 30000 pixels are more than 536,870,912; cut"):
        read_native(tmp_path / "a.bmp")


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".jp2", ".avif", ".webp"])
def test_every_listed_format_is_read(tmp_path: Path, suffix: str) -> None:
    shape = (24, 32, 3)
    path = tmp_path / f"a{suffix}"
    kind = {".jfif": "JPEG", ".jpe": "JPEG"}.get(suffix)
    Image.fromarray(np.full(shape, (200, 90, 30), np.uint8)).save(path, format=kind)
    pixels = read_native(path)
    assert pixels.shape == shape
    assert np.abs(pixels.reshape(-1, 3).mean(axis=0) - (200, 90, 30)).max() < 3


def test_deep_jpeg_2000_keeps_its_values(tmp_path: Path) -> None:
    deep = (np.arange(64 * 64).reshape(64, 64) * 15).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.jp2", irreversible=False)
    np.testing.assert_array_equal(read_native(tmp_path / "a.jp2")[..., 0], deep)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="a named pipe"):
        read_native(tmp_path / "a.png")
