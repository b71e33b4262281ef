"""`Reader`: size, aspect ratio, windows, colour and depth of canvases."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinocli.config.preprocess import PAGES
from dinocli.data.canvas import rgb, scaled, shrunk_size, windows
from dinocli.data.decoder_warnings import ColourLost
from dinocli.data.read import Reader
from dinocli.errors import DataError, UsageError
from tests.data.files import gdal_tiff, noise, save, settings


def test_short_side_aspect_and_no_enlargement(tmp_path: Path) -> None:
    reader = Reader(settings(), 64)
    for size, expected in [((256, 512), (64, 128)), ((300, 200), (96, 64)), ((40, 60), (40, 60)), ((64, 80), (64, 80))]:
        (canvas,) = reader.canvases(save(tmp_path / "a.png", noise(*size, 3)))
        assert canvas.shape == (3, *expected)
        assert canvas.dtype == np.uint8
        assert canvas.flags.c_contiguous
    assert shrunk_size(10_000, 3, 2) == (6667, 2)


def test_downscaling_averages_pixels(tmp_path: Path) -> None:
    (canvas,) = Reader(settings(), 32).canvases(save(tmp_path / "a.png", noise(512, 512, 3)))
    assert canvas.std() < 8  # 74 before; 256 pixels are averaged into one, dropping would leave 74


@pytest.mark.parametrize("size", [(601, 799), (1500, 401)])
def test_jpeg_draft_gives_the_same_canvas_as_a_full_decode(tmp_path: Path, size: tuple[int, int]) -> None:
    smooth = Image.fromarray(noise(12, 12, 3)).resize(size[::-1], Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    drafted, whole = (Reader(settings(), 64).canvases(str(tmp_path / f"a.{suffix}")) for suffix in ("jpg", "png"))
    assert [a.shape for a in drafted] == [a.shape for a in whole]
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(drafted, whole, strict=True)) < 1.5


def test_deep_canvases_match_8_bit_ones_with_more_levels(tmp_path: Path) -> None:
    pixels = noise(200, 150)
    tifffile.imwrite(tmp_path / "a.tif", pixels.astype(np.uint16) * 257)
    (deep,) = Reader(settings(deep=True, grey=True), 50).canvases(str(tmp_path / "a.tif"))
    (plain,) = Reader(settings(grey=True), 50).canvases(save(tmp_path / "a.png", pixels))
    assert deep.dtype == np.uint16
    assert deep.shape == plain.shape
    assert np.abs(deep / 257 - plain).max() <= 1
    assert np.unique(deep).size > 1000


def test_8_bit_data_is_scaled_in_a_deep_full_range(tmp_path: Path) -> None:
    (canvas,) = Reader(settings(deep=True, grey=True), 50).canvases(save(tmp_path / "a.png", noise(9, 9)))
    assert np.array_equal(canvas[0], noise(9, 9).astype(np.uint16) * 257)


def test_an_8_bit_image_under_a_measured_deep_range_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", noise(9, 9))
    reader = Reader(settings(deep=True, range_policy="auto", range_high=4095.0), 50)
    with pytest.raises(DataError, match="uint8 image among deeper ones"):
        reader.canvases(path)


@pytest.mark.parametrize("source", ["8-bit", "deep integer", "float"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_measured_range_refuses_other_depth_kinds(tmp_path: Path, dtype: str, source: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 4), dtype))
    reader = Reader(settings(range_policy="auto", source=source), 50)
    if {"uint8": "8-bit", "float32": "float"}.get(dtype, "deep integer") == source:
        assert reader.canvases(str(tmp_path / "a.tif"))
        return
    with pytest.raises(DataError, match=rf"{dtype} image among {source} ones; .*--range full"):
        reader.canvases(str(tmp_path / "a.tif"))


def test_nodata_of_tag_and_option_is_black(tmp_path: Path) -> None:
    pixels = np.array([[5, 100, 7, 200]], np.int16)
    path = gdal_tiff(tmp_path / "a.tif", pixels, "5")
    about = settings(range_policy="fixed", range_low=0.0, range_high=255.0, grey=True)
    assert Reader(about, 9).full(path).tolist() == [[[0, 100, 7, 200]]]
    assert Reader(replace(about, nodata=(200.0, 7.0)), 9).full(path).tolist() == [[[0, 100, 0, 0]]]


def test_jpeg_nodata_is_masked_before_downscaling(tmp_path: Path) -> None:
    pixels = np.tile(np.array([[0, 200]], np.uint8).repeat(8, 1), (128, 8))
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=100)
    (canvas,) = Reader(settings(grey=True, nodata=(200.0,)), 16).canvases(str(tmp_path / "a.jpg"))
    assert canvas.max() == 0


def test_alpha_is_composited_over_white_or_ignored(tmp_path: Path) -> None:
    path = str(tmp_path / "a.tif")
    pixel = np.array([[[60, 61, 65, 46]]], np.uint8)
    tifffile.imwrite(path, pixel, photometric="rgb", extrasamples=["unassalpha"])
    assert Reader(settings(), 9).full(path)[:, 0, 0].tolist() == [220, 220, 221]
    assert Reader(settings(alpha="ignore"), 9).full(path)[:, 0, 0].tolist() == [60, 61, 65]
    assert Reader(settings(channels=(0, 1, 2)), 9).full(path)[:, 0, 0].tolist() == [60, 61, 65]


def test_per_image_range_does_not_depend_on_canvas_size(tmp_path: Path) -> None:
    smooth = Image.fromarray(noise(12, 12)).resize((800, 600), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    reader = Reader(settings(range_policy="image", range_low=1.0, range_high=99.0, grey=True), 64)
    (canvas,), full = reader.canvases(str(tmp_path / "a.jpg")), reader.full(str(tmp_path / "a.jpg"))
    assert np.abs(canvas[0].astype(int) - scaled(full, (64, 85))[0]).max() <= 1


def test_canvas_channels_follow_the_dataset(tmp_path: Path) -> None:
    colour = save(tmp_path / "a.png", np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8))
    grey = save(tmp_path / "b.png", np.array([[1, 2, 3]], np.uint8))
    as_grey, as_colour = Reader(settings(grey=True), 9), Reader(settings(), 9)
    with pytest.warns(ColourLost):
        assert as_grey.full(colour).tolist() == [[[76, 150, 29]]]
    assert as_grey.full(grey).tolist() == [[[1, 2, 3]]]
    assert as_colour.full(grey).tolist() == [[[1, 2, 3]]] * 3
    assert as_colour.full(colour)[:, 0, 0].tolist() == [255, 0, 0]


def test_full_keeps_resolution_and_maps_the_range(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", noise(300, 200, 3))
    about = settings(range_policy="fixed", range_low=0.0, range_high=127.5)
    full = Reader(about, 32).full(path)
    assert full.shape == (3, 300, 200)
    assert np.array_equal(full, (noise(300, 200, 3).astype(int) * 2).clip(0, 255).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(100, 250), (100, 251), (1000, 30), (7, 5000), (1, 9)])
def test_windows_cover_every_pixel_of_a_strip(size: tuple[int, int]) -> None:
    seen = np.zeros(size, int)
    found = list(windows(*size))
    for rows, columns in found:
        seen[rows, columns] += 1
    assert seen.min() == 1
    assert (len(found) > 1) == (max(size) > 2.5 * min(size))
    shapes = {seen[part].shape for part in found}
    assert len(shapes) == 1
    assert max(*shapes.pop()) <= 2.5 * min(size)


def test_neighbouring_windows_overlap_by_a_quarter() -> None:
    starts = [columns.start for _, columns in windows(100, 1000)]
    assert starts[0] == 0
    assert starts[-1] == 850
    assert max(np.diff(starts)) <= 0.75 * 150


def test_strips_are_read_as_windows(tmp_path: Path) -> None:
    reader = Reader(settings(grey=True), 50)
    path = save(tmp_path / "a.png", noise(100, 1000))
    found = reader.canvases(path)
    assert len(found) == reader.count(path) == 9
    assert {canvas.shape for canvas in found} == {(1, 50, 75)}


def test_selected_channels_and_page_are_read(tmp_path: Path) -> None:
    stack = noise(2, 9, 8, 5)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", planarconfig="contig")
    reader = Reader(settings(channels=(4, 2, 0), page=1), 50)
    assert np.array_equal(reader.full(str(tmp_path / "a.tif")), stack[1][..., [4, 2, 0]].transpose(2, 0, 1))
    with pytest.raises(UsageError, match="--channels names 2 channels, and the weights take 3; name 3"):
        Reader(settings(channels=(0, 1)), 50)
    with pytest.raises(UsageError, match="--channels names 3 channels, and the weights take 4; name 4"):
        Reader(settings(channels=(0, 1, 2), mean=(0.5,) * 4, std=(0.5,) * 4), 50)


@pytest.mark.parametrize("deep", [False, True])
def test_each_of_many_channels_is_resized_independently(tmp_path: Path, deep: bool) -> None:
    pixels = noise(90, 70, 6, dtype="uint16" if deep else "uint8")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    order, half = (5, 0, 3, 2), (0.5,) * 4
    reader = Reader(settings(channels=order, mean=half, std=half, deep=deep), 32)
    (canvas,) = reader.canvases(str(tmp_path / "a.tif"))
    assert canvas.shape == (4, 41, 32)
    for place, channel in enumerate(order):
        alone = Reader(settings(channels=(channel,), grey=True, deep=deep), 32)
        (plane,) = alone.canvases(str(tmp_path / "a.tif"))
        assert np.abs(canvas[place].astype(int) - plane[0]).max() <= (0 if deep else 1)


def test_image_with_another_number_of_channels_is_refused(tmp_path: Path) -> None:
    half = (0.5,) * 4
    reader = Reader(settings(channels=PAGES, mean=half, std=half), 32)
    for pages in (1, 3, 5):
        tifffile.imwrite(tmp_path / "a.tif", noise(pages, 9, 8), photometric="minisblack")
        with pytest.raises(DataError, match=f"^{pages} channels?, and 4 are needed: select them with --channels"):
            reader.canvases(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("count", [2, 4, 7])
def test_rgb_shows_the_first_three_channels(count: int) -> None:
    canvas = noise(count, 5, 6)
    picture = rgb(canvas)
    assert picture.shape == (5, 6, 3)
    for channel in range(3):
        assert np.array_equal(picture[..., channel], canvas[channel] if channel < count else np.zeros((5, 6)))


def test_reader_can_be_pickled() -> None:
    reader = Reader(settings(grey=True), 77)
    assert pickle.loads(pickle.dumps(reader)) == reader
