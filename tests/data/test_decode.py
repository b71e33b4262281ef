"""Decoded pixels of each file format against the values that were written."""

import os
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinocli.config.preprocess import PAGES
from dinocli.data import decode
from dinocli.data.decode import image_size, page_count, read_native
from dinocli.data.limits import Allowance
from dinocli.data.mask_reader import read_mask
from dinocli.data.pixels import Decoded, apply_orientation
from dinocli.data.read import Reader
from dinocli.data.tiff_by_pil import ForPil
from dinocli.errors import DataError
from tests.data.files import Array, deep_png, gdal_tiff, noise, packed_tiff, save, settings, tiff_12_bit


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_8_bit_colour_is_preserved(tmp_path: Path, suffix: str) -> None:
    pixels = noise(7, 5, 3)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, lossless=True)  # read by WebP alone
    assert np.array_equal(read_native(path), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_png_values_are_preserved(tmp_path: Path, channels: int) -> None:
    pixels = noise(40, 50, channels, dtype="uint16")
    (tmp_path / "a.png").write_bytes(deep_png(pixels))
    read = read_native(tmp_path / "a.png")
    assert read.dtype == np.uint16
    assert np.array_equal(read, pixels)


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_alpha_is_composited_over_white(tmp_path: Path, channels: int) -> None:
    pixels = noise(6, 5, channels, dtype="uint16")
    pixels[0, :, -1], pixels[1, :, -1] = 0, 65535
    (tmp_path / "a.png").write_bytes(deep_png(pixels))
    read = read_native(tmp_path / "a.png")
    share = pixels[..., -1:] / 65535
    assert np.abs(read - (pixels[..., :-1] * share + 65535 * (1 - share))).max() <= 1
    assert (read[0] == 65535).all()
    assert np.array_equal(read[1], pixels[1, :, :-1])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_8_bit_alpha_is_composited_over_white(tmp_path: Path, mode: str) -> None:
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
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
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
def test_orientation_of_a_16_bit_tiff_is_applied(tmp_path: Path, orientation: int) -> None:
    pixels = noise(4, 6, 3, dtype="uint16")
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=tag)
    assert np.array_equal(read_native(tmp_path / "a.tif"), TURNS[orientation](pixels))
    assert image_size(tmp_path / "a.tif") == (4, 6)


_BYTE, _ASCII, _SHORT, _RATIONAL, _UNDEFINED, _FLOAT = 1, 2, 3, 5, 7, 11  # types of tags


@pytest.mark.parametrize(
    ("kind", "value", "orientation"),
    [
        (_SHORT, b"\6\0\0\0", 6),
        (_BYTE, b"\6\0\0\0", 6),
        (_BYTE, b"\1\0\0\0", 1),
        (_UNDEFINED, b"\10\0\0\0", 8),
        (_ASCII, b"6\0\0\0", 6),
        (_ASCII, b"x\0\0\0", 1),
        (_FLOAT, struct.pack("<f", 3), 3),
        (_FLOAT, struct.pack("<f", 5.5), 1),
        (_FLOAT, struct.pack("<f", np.inf), 1),
        (_RATIONAL, struct.pack("<III", 26, 6, 1), 6),
        (_RATIONAL, struct.pack("<III", 26, 0, 0), 1),
        (_SHORT, b"\11\0\0\0", 1),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_orientation_of_another_type_is_read_if_it_is_a_number(
    tmp_path: Path, suffix: str, kind: int, value: bytes, orientation: int
) -> None:
    entry = struct.pack("<HHI", 274, kind, 2 if kind == _ASCII else 1) + value[:4]
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + value[4:]
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:8, :8], pixels[8:, :8] = 255, 120
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif, quality=100)
    expected = apply_orientation(pixels[..., None], orientation)
    read = read_native(tmp_path / f"a.{suffix}")
    assert read.shape == expected.shape
    assert np.abs(read.astype(int) - expected).max() < 12
    assert read_mask(tmp_path / f"a.{suffix}").labels_HW.shape == expected.shape[:2]


@pytest.mark.parametrize(("kind", "value", "orientation"), [("B", 6, 6), ("s", "6", 6), ("2I", (0, 0), 1), ("H", 9, 1)])
def test_orientation_of_another_type_in_a_tiff(tmp_path: Path, kind: str, value: Any, orientation: int) -> None:
    pixels = noise(4, 6)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(274, kind, 0 if kind == "s" else 1, value, True)])
    assert np.array_equal(read_native(tmp_path / "a.tif"), apply_orientation(pixels[..., None], orientation))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float16", "float32", "float64"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_dtype_and_values_are_preserved(tmp_path: Path, dtype: str, order: str) -> None:
    values = np.array([[0, 1, 1000, 4095], [30000, 5, 6, 7]]).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order)
    read = read_native(tmp_path / "a.tif")
    assert read.dtype == np.dtype(dtype)
    assert np.array_equal(read[..., 0], values)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_rgb_tiff_is_preserved(tmp_path: Path, planar: str, compression: str | None) -> None:
    pixels = noise(9, 8, 3, dtype="uint16")
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, compression=compression)
    assert np.array_equal(read_native(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_selected_channels_of_many_are_read(tmp_path: Path, planar: str) -> None:
    pixels = noise(9, 8, 7, dtype="uint16")
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar)
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=(5, 0, 6)), pixels[..., [5, 0, 6]])
    with pytest.raises(DataError, match=r"7 channels.*--channels 0,1,2"):
        read_native(tmp_path / "a.tif")
    with pytest.raises(DataError, match="channel 7 of an image with 7"):
        read_native(tmp_path / "a.tif", channels=(7,))


def test_selected_channels_of_an_rgb_image_are_read(tmp_path: Path) -> None:
    pixels = noise(4, 4, 3)
    path = save(tmp_path / "a.png", pixels)
    assert np.array_equal(read_native(path, channels=(2,)), pixels[..., 2:])
    with pytest.raises(DataError, match="channel 3"):
        read_native(path, channels=(3,))


def test_pages_and_channels_stored_as_pages_are_read(tmp_path: Path) -> None:
    pages = noise(4, 6, 5, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    assert np.array_equal(read_native(tmp_path / "a.tif", page=2)[..., 0], pages[2])
    assert np.array_equal(read_native(tmp_path / "a.tif", page=1, channels=(2, 0)), pages[[3, 1]].transpose(1, 2, 0))
    with pytest.raises(DataError, match="page 4 of a file with 4"):
        read_native(tmp_path / "a.tif", page=4)


def test_gif_frames_are_read_as_pages(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_native(tmp_path / "a.gif").max() == 0
    assert read_native(tmp_path / "a.gif", page=1).min() == 255
    with pytest.raises(DataError, match="page 2 of a file with 2"):
        read_native(tmp_path / "a.gif", page=2)


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535)])
def test_white_is_zero_tiff_is_inverted(tmp_path: Path, dtype: str, white: int) -> None:
    pixels = noise(4, 5, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    assert np.array_equal(read_native(tmp_path / "a.tif")[..., 0], white - pixels)


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535)])
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_fourth_tiff_sample_is_alpha_only_if_tagged(tmp_path: Path, kind: str, dtype: str, white: int) -> None:
    pixels = np.full((2, 2, 4), white // 5, dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[kind])
    over = {"unassalpha": 0.2 * 0.2 + 0.8, "assocalpha": 1.0, "unspecified": 0.2}[kind]
    assert np.abs(read_native(tmp_path / "a.tif") - over * white).max() <= 1


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("bits", [2, 4])
def test_grey_below_8_bits_is_scaled_to_255(tmp_path: Path, bits: int, *, negative: bool) -> None:
    levels = noise(5, 7, top=2**bits - 1)
    (tmp_path / "a.tif").write_bytes(packed_tiff(levels, bits, white_is_zero=negative))
    expected = levels * (255 // (2**bits - 1))
    read = read_native(tmp_path / "a.tif")
    assert read.dtype == np.uint8
    assert np.array_equal(read[..., 0], 255 - expected if negative else expected)
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=(0,)), read)


def test_12_bit_grey_needs_no_extra_and_12_bit_colour_names_it(tmp_path: Path) -> None:
    values = noise(5, 6, dtype="uint16", top=4095)
    (tmp_path / "a.tif").write_bytes(tiff_12_bit(values))
    assert np.array_equal(read_native(tmp_path / "a.tif")[..., 0], values)
    (tmp_path / "b.tif").write_bytes(tiff_12_bit(values, samples=3))
    if find_spec("imagecodecs"):
        assert read_native(tmp_path / "b.tif").shape == (5, 2, 3)
        return
    with pytest.raises(DataError, match=r"needs imagecodecs: pip install 'dinocli\[tiff\]'"):
        read_native(tmp_path / "b.tif")


def _decoded(path: Path | str) -> Decoded:
    with Allowance() as allowance:
        return decode.decode(path, page=0, channels=(), min_side=9, allowance=allowance)


@pytest.mark.parametrize(("dtype", "tag"), [("int16", "-9999"), ("uint16", "65535 "), ("float32", "-3.4028235e+38")])
def test_gdal_nodata_tag_is_read(tmp_path: Path, dtype: str, tag: str) -> None:
    pixels = np.arange(12).reshape(3, 4).astype(dtype)
    with np.errstate(over="ignore"):
        pixels[1, 2] = np.float64(tag)
    missing = _decoded(gdal_tiff(tmp_path / "a.tif", pixels, tag)).nodata_mask()
    assert missing is not None
    assert np.argwhere(missing).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("tag", ["nan", "none", "", "-9999", "1e999"])
def test_nodata_value_that_no_sample_has_gives_no_mask(tmp_path: Path, tag: str) -> None:
    path = gdal_tiff(tmp_path / "a.tif", noise(3, 4), tag)
    assert _decoded(path).nodata_mask() is None
    assert np.array_equal(read_native(path)[..., 0], noise(3, 4))


def test_nodata_follows_inversion_and_scaling_of_samples(tmp_path: Path) -> None:
    pixels = np.array([[0, 7, 65535]], np.uint16)
    missing = _decoded(gdal_tiff(tmp_path / "a.tif", pixels, "7", photometric="miniswhite")).nodata_mask()
    assert missing is not None
    assert missing[0, :, 0].tolist() == [False, True, False]


def test_8_bit_pixel_is_nodata_only_if_all_channels_are(tmp_path: Path) -> None:
    pixels = np.array([[[255, 10, 20], [255, 255, 255]]], np.uint8)
    missing = _decoded(gdal_tiff(tmp_path / "a.tif", pixels, "255", photometric="rgb")).nodata_mask()
    assert missing is not None
    assert missing[0].tolist() == [[False] * 3, [True] * 3]


@pytest.mark.parametrize("suffix", ["png", "tif", "deep.png"])
def test_channels_select_colours_and_alpha_separately(tmp_path: Path, suffix: str) -> None:
    pixels = noise(4, 5, 4, dtype="uint16" if suffix == "deep.png" else "uint8")
    path = tmp_path / f"a.{suffix}"
    if suffix == "deep.png":
        path.write_bytes(deep_png(pixels))
    else:
        Image.fromarray(pixels).save(path)
    assert np.array_equal(read_native(path, channels=(0, 1, 2)), pixels[..., :3])
    assert np.array_equal(read_native(path, channels=(3, 0, 1)), pixels[..., [3, 0, 1]])


def test_pages_are_read_as_channels(tmp_path: Path) -> None:
    stack = noise(3, 6, 5, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=PAGES), stack.transpose(1, 2, 0))
    for count in (2, 15):
        stack = noise(count, 6, 5)
        tifffile.imwrite(tmp_path / "b.tif", stack, photometric="minisblack")
        assert np.array_equal(read_native(tmp_path / "b.tif", channels=PAGES), stack.transpose(1, 2, 0))
    tifffile.imwrite(tmp_path / "b.tif", noise(64, 6, 5), photometric="minisblack")
    with pytest.raises(DataError, match="64 or more pages are hardly channels: select some, as --channels 0,1,2"):
        read_native(tmp_path / "b.tif", channels=PAGES)
    with pytest.raises(DataError, match="for TIFF files alone"):
        read_native(save(tmp_path / "a.png", noise(4, 4)), channels=PAGES)


def test_pages_decoded_by_pil_are_read_as_channels(tmp_path: Path) -> None:
    stack = noise(3, 30, 20)
    images = [Image.fromarray(plane) for plane in stack]
    images[0].save(tmp_path / "a.tif", save_all=True, append_images=images[1:], compression="tiff_lzw")
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=PAGES), stack.transpose(1, 2, 0))
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=(2, 0)), stack[[2, 0]].transpose(1, 2, 0))
    with pytest.raises(DataError, match="page 3 of a file with 3"):
        read_native(tmp_path / "a.tif", channels=(3,))


@pytest.mark.parametrize("kind", ["tiff_lzw", "raw", "palette"])
def test_rgb_pages_are_refused_as_channels(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(noise(30, 20, 3))
    image = image.quantize(16) if kind == "palette" else image
    image.save(tmp_path / "a.tif", compression="tiff_lzw" if kind == "tiff_lzw" else None)
    with pytest.raises(DataError, match=r"each page has several channels; select some, as --channels 0,1,2"):
        read_native(tmp_path / "a.tif", channels=PAGES)
    assert read_native(tmp_path / "a.tif", channels=(2, 0, 1)).shape == (30, 20, 3)


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX"])
def test_channels_are_selected_by_ome_names(tmp_path: Path, axes: str) -> None:
    planes = noise(3, 4, 6, 5, dtype="uint16")  # c, z, y, x
    stored = planes if axes == "CZYX" else planes.swapaxes(0, 1)
    names = {"Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", stored, metadata={"axes": axes, **names}, photometric="minisblack")
    read = read_native(tmp_path / "a.ome.tif", channels=("C:Cy5", "dapi", "GFP"))
    assert np.array_equal(read, planes[[2, 0, 1], 0].transpose(1, 2, 0))
    with pytest.raises(DataError, match=r"no channel 'RFP': it has DAPI, GFP, Cy5"):
        read_native(tmp_path / "a.ome.tif", channels=("RFP",))


def test_channels_are_selected_by_gdal_band_names(tmp_path: Path) -> None:
    items = "".join(
        f'<Item name="DESCRIPTION" sample="{band}" role="description">{name}</Item>'
        for band, name in enumerate(("blue", "green", "red", "nir"))
    )
    tag = (42112, "s", 0, f"<GDALMetadata>{items}</GDALMetadata>", True)
    pixels = noise(6, 5, 4, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig", extratags=[tag])
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=("red", 1, "NIR")), pixels[..., [2, 1, 3]])
    with pytest.raises(DataError, match="no channel 'red': the file gives its channels no names"):
        read_native(save(tmp_path / "a.png", noise(4, 4)), channels=("red",))


def test_thumbnail_pages_are_skipped(tmp_path: Path) -> None:
    small, image, other = noise(8, 8), noise(80, 80, seed=1), noise(80, 80, seed=2)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(small, subfiletype=1)
        file.write(image)
        file.write(noise(40, 40), subfiletype=1)  # an overview
        file.write(other)
    assert np.array_equal(read_native(tmp_path / "a.tif")[..., 0], image)
    assert np.array_equal(read_native(tmp_path / "a.tif", page=1)[..., 0], other)
    assert image_size(tmp_path / "a.tif") == (80, 80)
    assert page_count(tmp_path / "a.tif") == (2, 0)
    with pytest.raises(DataError, match="page 2 of a file with 2"):
        read_native(tmp_path / "a.tif", page=2)


def test_thumbnail_before_an_image_decoded_by_pil_is_skipped(tmp_path: Path) -> None:
    first, second = (Image.fromarray(noise(size, size, seed=size)) for size in (8, 60))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second], compression="tiff_lzw", tiffinfo={254: 1})
    content = (tmp_path / "a.tif").read_bytes()
    assert content.count(b"\xfe\x00\x04\x00\x01\x00\x00\x00\x01") == 2  # PIL marks both; only the first should be
    place = content.rindex(b"\xfe\x00\x04\x00\x01\x00\x00\x00\x01")
    (tmp_path / "a.tif").write_bytes(content[: place + 8] + b"\0" + content[place + 9 :])
    assert np.array_equal(read_native(tmp_path / "a.tif")[..., 0], np.asarray(second))


def test_image_in_a_sub_ifd_of_its_thumbnail_is_read(tmp_path: Path) -> None:
    image = noise(80, 80, seed=1)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(noise(8, 8), subfiletype=1, subifds=1)
        file.write(image)
    assert np.array_equal(read_native(tmp_path / "a.tif")[..., 0], image)


def test_only_page_is_read_even_if_marked_as_reduced(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(8, 8), subfiletype=1)
    assert np.array_equal(read_native(tmp_path / "a.tif")[..., 0], noise(8, 8))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_lzw_tiff_is_read_without_imagecodecs(tmp_path: Path, dtype: str) -> None:
    pixels = noise(30, 20, dtype=dtype)
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression="tiff_lzw")
    read = read_native(tmp_path / "a.tif")
    assert read.dtype == pixels.dtype
    assert np.array_equal(read[..., 0], pixels)


@pytest.mark.usefixtures("no_codecs")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pil_decodes_compressed_tiff_of_both_byte_orders(tmp_path: Path, dtype: str, order: Any) -> None:
    pixels = (np.random.default_rng(0).normal(0, 60, (40, 30)) + 100).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=order, compression="zlib", tile=(16, 16))
    found = read_native(tmp_path / "a.tif")
    assert found.dtype == pixels.dtype
    assert np.array_equal(found[..., 0], pixels)


@pytest.mark.usefixtures("no_codecs")
@pytest.mark.parametrize(("samples", "photometric"), [(4, "minisblack"), (3, "rgb")])
def test_compressed_bands_that_pil_decodes_wrongly_need_the_extra(
    tmp_path: Path, samples: int, photometric: Any
) -> None:
    pixels = noise(samples, 40, 30, dtype="uint16")
    kind: dict[str, Any] = {"photometric": photometric, "planarconfig": "separate", "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **kind)
    with pytest.raises(DataError, match=r"dinocli\[tiff\]"):
        read_native(tmp_path / "a.tif")


@pytest.mark.usefixtures("no_codecs")
def test_8_bit_bands_of_which_pil_decodes_one_need_the_extra(tmp_path: Path) -> None:
    kind: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "separate", "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a.tif", noise(4, 40, 30), **kind)
    with pytest.raises(DataError, match=r"dinocli\[tiff\]"):
        read_native(tmp_path / "a.tif", channels=(0,))


def test_16_bit_colour_tiff_is_read_with_pil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of LZW colour without imagecodecs; PIL cannot write such a file, so `read_tiff` is replaced."""
    pixels = noise(9, 8, 3, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="zlib")
    monkeypatch.setattr(decode, "read_tiff", lambda *_: ForPil((0,), planes=False, negative=False, nodata=()))
    assert np.array_equal(read_native(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("top", [4095, 65535])
@pytest.mark.parametrize(("magic", "channels"), [("P5", 1), ("P6", 3)])
def test_16_bit_pnm_is_not_rescaled(tmp_path: Path, magic: str, channels: int, top: int) -> None:
    pixels = noise(3, 4, channels, dtype="uint16", top=4095)
    header = f"{magic}\n# from a detector\n4 3\n{top}\n".encode()
    (tmp_path / "a.pgm").write_bytes(header + pixels.astype(">u2").tobytes())
    assert np.array_equal(read_native(tmp_path / "a.pgm"), pixels)


def test_format_is_determined_by_content_not_suffix(tmp_path: Path) -> None:
    pixels = noise(4, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    assert np.array_equal(read_native(tmp_path / "a.tif"), pixels)


def decoded_sizes(path: Path, min_side: int) -> tuple[tuple[int, ...], tuple[int, int]]:
    with Allowance() as allowance:
        found = decode.decode(path, page=0, channels=(), min_side=min_side, allowance=allowance)
    return found.colour.shape, found.original_size


def test_jpeg_is_not_downscaled_below_min_side(tmp_path: Path) -> None:
    Image.fromarray(noise(600, 800, 3)).save(tmp_path / "a.jpg")
    assert read_native(tmp_path / "a.jpg").shape == (600, 800, 3)
    for min_side, expected in ((140, (150, 200, 3)), (160, (300, 400, 3))):
        assert decoded_sizes(tmp_path / "a.jpg", min_side) == (expected, (600, 800))
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(600, 800, 3)).save(tmp_path / "b.jpg", exif=exif)
    assert decoded_sizes(tmp_path / "b.jpg", 140) == ((200, 150, 3), (800, 600))


def test_png_size_is_read_without_decoding(tmp_path: Path) -> None:
    content = deep_png(noise(9, 7, 3, dtype="uint16"))
    (tmp_path / "a.png").write_bytes(content[:60])
    assert image_size(tmp_path / "a.png") == (9, 7)


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp", "gif", "ppm"])
def test_truncated_files_raise(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise(64, 64, 3)).save(path)
    path.write_bytes(_half(path.read_bytes()))
    with pytest.raises(DataError):
        read_native(path)


def test_truncated_16_bit_files_raise(tmp_path: Path) -> None:
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
def test_files_that_are_not_images_raise_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_native(tmp_path / "a.png")
    with pytest.raises(DataError, match=reason):
        image_size(tmp_path / "a.png")


def test_missing_file_and_folder_raise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_native(tmp_path / "a.png")
    with pytest.raises(DataError, match="directory"):
        read_native(tmp_path)


def _claim(pixels: Array, width: int, height: int) -> bytes:
    """Write a BMP of a few bytes whose header claims another size."""
    content = bytearray(b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 1, 1, 0, 0))
    content[10:14] = struct.pack("<I", 54)
    return bytes(content) + pixels.tobytes()


def test_file_that_claims_too_many_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(_claim(noise(4), 30_000, 30_000))
    with pytest.raises(DataError, match=r"30000 x 30000 pixels are more than 536,870,912; cut"):
        read_native(tmp_path / "a.bmp")


_RGB565, _RGB555 = (0xF800, 0x07E0, 0x001F), (0x7C00, 0x03E0, 0x001F)


@pytest.mark.parametrize(("masks", "named"), [(_RGB565, True), (_RGB555, True), (_RGB555, False)])
def test_bmp_of_16_bits_per_pixel_is_read(tmp_path: Path, masks: tuple[int, ...], *, named: bool) -> None:
    values = noise(5, 6, dtype="uint16", top=sum(masks))
    bitfields = struct.pack("<III", *masks) if named else b""
    header = struct.pack("<IiiHHIIiiII", 40, 6, -5, 1, 16, 3 if named else 0, 60, 0, 0, 0, 0)
    start = 14 + len(header) + len(bitfields)
    content = b"BM" + struct.pack("<IHHI", start + 60, 0, 0, start) + header + bitfields + values.tobytes()
    (tmp_path / "a.bmp").write_bytes(content)
    shares = np.stack([(values & mask) / mask for mask in masks], axis=-1)
    read = read_native(tmp_path / "a.bmp")
    assert read.dtype == np.uint8
    assert np.abs(read - shares * 255).max() <= 1


def test_a_bmp_of_16_bits_per_pixel_needs_the_memory_of_8_bit_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Allowance, "reserve", lambda _, height, width, nbytes, file_bytes: asked.append(nbytes))
    start, masks = 66, struct.pack("<III", *_RGB565)
    header = struct.pack("<IiiHHIIiiII", 40, 6, -5, 1, 16, 3, 60, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", start + 60, 0, 0, start) + header + masks + bytes(60))
    read_native(tmp_path / "a.bmp")
    assert set(asked) == {5 * 6 * 3}


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".jp2", ".avif", ".webp"])
def test_every_listed_format_is_decoded(tmp_path: Path, suffix: str) -> None:
    shape = (24, 32, 3)
    path = tmp_path / f"a{suffix}"
    kind = {".jfif": "JPEG", ".jpe": "JPEG"}.get(suffix)
    Image.fromarray(np.full(shape, (200, 90, 30), np.uint8)).save(path, format=kind)
    pixels = read_native(path)
    assert pixels.shape == shape
    assert np.abs(pixels.reshape(-1, 3).mean(axis=0) - (200, 90, 30)).max() < 3


def test_16_bit_jpeg_2000_values_are_preserved(tmp_path: Path) -> None:
    deep = (np.arange(64 * 64).reshape(64, 64) * 15).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.jp2", irreversible=False)
    np.testing.assert_array_equal(read_native(tmp_path / "a.jp2")[..., 0], deep)


def test_named_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="a named pipe"):
        read_native(tmp_path / "a.png")


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_pixels_are_refused(tmp_path: Path, dtype: str) -> None:
    """Radar images are complex; reading the real part alone would silently lose half of the data."""
    tifffile.imwrite(tmp_path / "a.tif", noise(8, 8).astype(dtype) * 1j)
    with pytest.raises(DataError, match=f"pixels are {dtype}, not real numbers; save the amplitude or the phase"):
        read_native(tmp_path / "a.tif")


def test_transparent_16_bit_colour_becomes_white(tmp_path: Path) -> None:
    for channels in (1, 3):
        pixels = noise(6, 8, channels, dtype="uint16")
        content = deep_png(pixels)
        value = struct.pack(f">{channels}H", *pixels[2, 3])
        chunk = struct.pack(">I", len(value)) + b"tRNS" + value + struct.pack(">I", zlib.crc32(b"tRNS" + value))
        place = content.index(b"IDAT") - 4
        (tmp_path / "a.png").write_bytes(content[:place] + chunk + content[place:])
        expected = pixels.copy()
        expected[(pixels == pixels[2, 3]).all(-1)] = 65535
        assert np.array_equal(read_native(tmp_path / "a.png"), expected)


@pytest.mark.parametrize(("magic", "channels"), [("P2", 1), ("P3", 3)])
def test_ascii_pnm_equals_binary_pnm(tmp_path: Path, magic: str, channels: int) -> None:
    pixels = noise(4, 5, channels, dtype="uint16", top=4095)
    numbers = " ".join(map(str, pixels.ravel()))
    (tmp_path / "a.pnm").write_text(f"{magic}\n5 4\n4095\n# of a camera\n{numbers}\n")
    assert np.array_equal(read_native(tmp_path / "a.pnm"), pixels)
    (tmp_path / "a.pnm").write_text(f"{magic}\n5 4\n4095\n1 2 3")
    with pytest.raises(DataError, match="ends before the image does"):
        read_native(tmp_path / "a.pnm")


def test_several_values_in_one_nodata_tag_are_read(tmp_path: Path) -> None:
    pixels = noise(6, 5, dtype="uint16", top=90)
    pixels[0], pixels[1, 0] = 0, 65535
    missing = _decoded(gdal_tiff(tmp_path / "a.tif", pixels, "0, 65535")).nodata_mask()
    assert missing is not None
    assert np.array_equal(missing[..., 0], np.isin(pixels, (0, 65535)))


def test_two_8_bit_nodata_values_do_not_mask_red(tmp_path: Path) -> None:
    pixels = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8)
    missing = _decoded(gdal_tiff(tmp_path / "a.tif", pixels, "0 255", photometric="rgb")).nodata_mask()
    assert missing is not None
    assert missing[0, :, 0].tolist() == [True, True, False]


@pytest.mark.parametrize("overview", [False, True])
def test_pixels_hidden_by_a_mask_page_are_nodata(tmp_path: Path, *, overview: bool) -> None:
    pixels, shown = noise(6, 5, dtype="uint16"), noise(6, 5, top=1).astype(bool)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(pixels, extratags=[(274, "H", 1, 6, True)])
        if overview:
            file.write(pixels[::2, ::2].copy(), subfiletype=1)
        file.write(shown, subfiletype=4, photometric="mask", compression="zlib")
    found = _decoded(tmp_path / "a.tif")
    missing = found.nodata_mask()
    assert missing is not None
    assert np.array_equal(missing, apply_orientation(~shown[..., None], 6))
    assert np.array_equal(found.colour, apply_orientation(pixels[..., None], 6))


@pytest.mark.parametrize("bad", [np.full((4, 4), np.nan, np.float32), np.zeros((4, 4, 4), np.uint8)])
def test_image_without_a_valid_pixel_is_refused(tmp_path: Path, bad: Array) -> None:
    np.save(tmp_path / "a.npy", bad)
    with pytest.raises(DataError, match="no pixel has a value"):
        Reader(settings(range_policy="fixed", range_high=1.0), 32).whole(str(tmp_path / "a.npy"))


@pytest.mark.parametrize("imagej", [False, True])
def test_stack_planes_without_a_directory_are_read(tmp_path: Path, *, imagej: bool) -> None:
    """ImageJ writes stacks of more than 4 GB with one directory."""
    stack = noise(5, 6, 7, dtype="uint16").astype(">u2")
    more = {"imagej": True, "metadata": {"axes": "ZYX"}} if imagej else {}
    tifffile.imwrite(tmp_path / "a.tif", stack, truncate=True, byteorder=">", **more)
    assert page_count(tmp_path / "a.tif") == (5, 0)
    assert np.array_equal(read_native(tmp_path / "a.tif", page=3)[..., 0], stack[3])
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=(4, 0, 1)), stack[[4, 0, 1]].transpose(1, 2, 0))
    highest = Reader(settings(z="max", deep=True, grey=True), 32).full(str(tmp_path / "a.tif"))
    assert np.array_equal(highest[0], stack.max(axis=0))
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-3])
    with pytest.raises(DataError, match=r"ends before the plane does|page 4 of a file with 1"):
        read_native(tmp_path / "a.tif", page=4)


def test_page_count_excludes_pages_read_as_channels_or_z(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    names = ["DAPI", "GFP", "Cy5"]
    tifffile.imwrite(path, noise(2, 3, 4, 6, 7), metadata={"axes": "TCZYX", "Channel": {"Name": names}})
    assert page_count(path) == (24, 0)
    assert page_count(path, channels=("GFP",)) == (8, 0)
    assert page_count(path, channels=("GFP",), z="max") == (2, 0)
    assert page_count(path, channels=(0, 1, 2)) == (1, 0)


def _with_format(path: Path, kind: int) -> None:
    """Change the SampleFormat tag of a little-endian TIFF: 1 unsigned, 2 signed."""
    content = bytearray(path.read_bytes())
    place = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, place)[0]
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        if struct.unpack_from("<H", content, entry)[0] == 339:
            struct.pack_into("<I", content, entry + 8, kind)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32"])
def test_compressed_dtypes_without_a_pil_mode_are_read(tmp_path: Path, dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7 * np.dtype(dtype).itemsize), np.uint8).view(dtype)
    other = {"int8": "uint8", "int16": "uint16", "uint32": "int32"}[dtype]
    Image.fromarray(pixels.view(other)).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={339: 1})
    _with_format(tmp_path / "a.tif", 1 if dtype == "uint32" else 2)
    found = read_native(tmp_path / "a.tif")
    assert found.dtype == dtype
    assert np.array_equal(found[..., 0], pixels)


def test_zstd_tiff_is_read_without_imagecodecs(tmp_path: Path) -> None:
    pixels = noise(9, 7, dtype="uint16")
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression="zstd")
    assert np.array_equal(read_native(tmp_path / "a.tif")[..., 0], pixels)


def test_16_bit_palette_becomes_rgb(tmp_path: Path) -> None:
    colours, index = noise(3, 65536, dtype="uint16"), noise(6, 7, dtype="uint16", seed=1)
    tifffile.imwrite(tmp_path / "a.tif", index, photometric="palette", colormap=colours)
    assert np.array_equal(read_native(tmp_path / "a.tif"), colours.T[index])
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=(1,))[..., 0], colours[1][index])


@pytest.mark.parametrize(("kind", "samples"), [("cielab", 3), ("separated", 4), ("cfa", 1)])
def test_unsupported_colour_space_is_readable_by_channels(tmp_path: Path, kind: str, samples: int) -> None:
    """No package reads it, so the message names none."""
    pixels = noise(6, 7, samples, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels if samples > 1 else pixels[..., 0], photometric=kind)
    with pytest.raises(DataError, match=r"save it as RGB, or read its raw samples, as --channels 0"):
        read_native(tmp_path / "a.tif")
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=(0,))[..., 0], pixels[..., 0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https:" + b"//git/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\n<!DOCTYPE HTML><title>404</title>", "a web page"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"text", "not an image in a known format"),
    ],
)
def test_files_that_are_no_image_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_native(tmp_path / "a.png")
