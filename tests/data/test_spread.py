"""Samples of images with a regular pattern: every part of the pattern has its share."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinocli.data.image_sample import ImageSample, SourceReading, sample_image
from dinocli.data.pixels import is_grey
from dinocli.data.ranges import map_range
from dinocli.data.spread import spread
from tests.data.files import settings


@pytest.mark.parametrize(("size", "most"), [(10, 10), (10, 20), (1, 0), (0, 5)])
def test_few_values_are_all_taken(size: int, most: int) -> None:
    values = np.arange(size)
    assert spread(values, most) is values


@pytest.mark.parametrize(("size", "most"), [(11, 10), (1_000_003, 4096), (3 * 1920 * 2048, 2**18), (7, 0)])
def test_values_are_evenly_spread(size: int, most: int) -> None:
    places, most = spread(np.arange(size), most), max(1, most)
    assert len(places) == most
    middles = (np.arange(most) + 0.5) * size / most
    assert np.abs(places - middles).max() <= size / most / 2 + 1  # one of each part, up to rounding


@pytest.mark.parametrize("period", [2, 3, 5, 15, 16, 1920, 2047])
def test_no_period_is_preferred(period: int) -> None:
    places = spread(np.arange(1920 * 2048), 2**18)
    shares = np.bincount(places % period, minlength=period) / len(places) * period
    assert 0.8 < shares.min() <= shares.max() < 1.2


def stripes(period: int, height: int = 2048, width: int = 1920) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One bright column of each period, the first one."""
    row = np.where(np.arange(width) % period == 0, 200, 100).astype(np.uint8)
    return np.broadcast_to(row, (height, width)).copy()


@pytest.mark.parametrize("period", [3, 15])
def test_the_range_of_an_image_counts_all_columns(period: int) -> None:
    pixels = stripes(period)[..., None]
    mapped = map_range(pixels, settings(range_policy="image", range_low=1, range_high=99, grey=True))
    assert mapped.min() == 0  # of these columns alone the range was 200 to 201, and all others 0
    assert np.unique(mapped).tolist() == [0, 255]
    low = map_range(pixels, settings(range_policy="image", range_low=0, range_high=50, grey=True))
    assert np.unique(low).tolist() == [0, 255]  # 100 to 101


def test_grey_with_noise_is_grey_by_the_range_of_all_columns() -> None:
    row = np.where(np.arange(768) % 12 == 0, 1000, np.arange(768) * 60)  # 36 values per sampled one: 12 pixels
    pixels = np.broadcast_to(row[None, :, None], (1024, 768, 3)).astype(np.uint16)
    pixels[..., 1] += 100
    assert is_grey(pixels)


def sampled(path: Path) -> ImageSample:
    sample = sample_image(str(path), path.name, SourceReading())
    assert isinstance(sample, ImageSample)
    return sample


def test_sampled_values_are_of_all_channels(tmp_path: Path) -> None:
    pixels = np.zeros((1024, 768, 3), np.uint8)
    pixels[..., 1], pixels[..., 2] = 100, 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    values = sampled(tmp_path / "a.png").values
    assert np.bincount(values.astype(int), minlength=201)[[0, 100, 200]] == pytest.approx(
        np.full(3, 65536 / 3), rel=0.1
    )


def test_transparent_stripes_are_a_mask(tmp_path: Path) -> None:
    alpha = np.where(np.arange(1024) % 16 == 0, np.arange(1024) % 50 + 100, 255).astype(np.uint8)
    pixels = np.full((1024, 1024, 4), 90, np.uint8)
    pixels[..., 3] = alpha
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert sampled(tmp_path / "a.png").alpha == "mask"  # of each 16th column alone it was `data`


def test_bands_have_their_own_values(tmp_path: Path) -> None:
    pixels = np.repeat(stripes(5, 400, 1000)[..., None], 5, axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    sample = sample_image(str(tmp_path / "a.tif"), "a.tif", SourceReading(channels=(0, 1, 2, 3, 4)))
    assert isinstance(sample, ImageSample)
    assert [len(values) for values in sample.channel_values] == [65536 // 5] * 5
    assert [float(np.mean(values == 200)) for values in sample.channel_values] == pytest.approx([0.2] * 5, rel=0.1)
