"""Number of input channels of the network."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dinocli.config.preprocess import PAGES, Channels, Preprocess, first_channels, for_channels
from dinocli.data.image_list import ImageList
from dinocli.data.image_sample import SourceReading
from dinocli.data.input_channels import described_channels, input_channels
from dinocli.data.ranges import map_range
from dinocli.data.read import Reader
from dinocli.data.stored_reading import check_stored
from dinocli.data.survey import survey
from dinocli.errors import DataError
from tests.data.files import noise, settings


@pytest.mark.parametrize(
    ("channels", "expected"), [((), 3), ((4,), 3), ((2, 0, 1), 3), ((0, 1), 2), ((0, 1, 2, 3), 4), (("C:DAPI", 3), 2)]
)
def test_selected_channels_are_counted_and_grey_and_rgb_give_three(channels: Channels, expected: int) -> None:
    nothing = ImageList(Path("nowhere"), ["./a.png"], [])
    assert input_channels(nothing, channels, 0) == expected


def test_pages_as_channels_use_the_most_common_page_count(tmp_path: Path) -> None:
    for number, pages in enumerate((5, 5, 1, 5)):
        tifffile.imwrite(tmp_path / f"{number}.tif", noise(pages, 6, 5), photometric="minisblack")
    (tmp_path / "4.tif").write_bytes(b"II*\0 torn")
    images = ImageList(tmp_path, [f"./{number}.tif" for number in range(5)], [])
    assert input_channels(images, PAGES, 0) == 5
    assert input_channels(images, PAGES, 1) == 4
    seen = survey(images, "auto", SourceReading(PAGES))
    assert (seen.channels, seen.grey) == (5, False)
    assert "5 channels; pictures show the first three as red, green and blue" in seen.notes


def test_displayed_channels_are_described_for_non_rgb_only() -> None:
    assert [described_channels(count) for count in (1, 3)] == ["", ""]
    assert described_channels(2) == "2 channels; pictures show the first two as red and green"


def test_a_range_is_measured_for_each_channel_that_is_no_colour(tmp_path: Path) -> None:
    pixels = noise(8, 7, 4, dtype="uint16", top=4000)
    pixels[..., 2] = 100 + pixels[..., 2] // 40
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    images, asked = ImageList(tmp_path, ["./a.tif"], []), SourceReading((0, 1, 2, 3))
    found = survey(images, "minmax", asked)
    ends = [(float(pixels[..., channel].min()), float(pixels[..., channel].max())) for channel in range(4)]
    assert found.channel_ranges == tuple(ends)
    assert (found.low, found.high) == (min(low for low, _ in ends), max(high for _, high in ends))
    assert found.warnings == []
    assert found.notes[-1].startswith(f"range of each channel: 0: {ends[0][0]:g} to {ends[0][1]:g}, 1: ")
    half = survey(images, "percentile:0,50", asked).channel_ranges
    assert half == tuple((low, float(np.median(pixels[..., c]))) for c, (low, _) in enumerate(ends))
    wide = survey(images, "auto", asked).channel_ranges
    assert all(low <= a < b <= high for (low, high), (a, b) in zip(wide, ends, strict=True))
    assert survey(images, "auto", SourceReading((0, 1, 3))).channel_ranges == (), "three channels are RGB"
    assert survey(images, "fixed:0,4000", asked).channel_ranges == ()

    stored = settings(channels=(0, 1, 2, 3), range_policy="minmax", range_low=found.low, range_high=found.high,
                      deep=True, mean=(0.5,) * 4, std=(0.5,) * 4, channel_ranges=found.channel_ranges)  # fmt: skip
    assert Preprocess.from_dict(json.loads(json.dumps(stored.to_dict()))) == stored
    (canvas,) = Reader(stored, 32).canvases(str(tmp_path / "a.tif"))
    for channel, (low, high) in enumerate(ends):
        expected = np.rint((pixels[..., channel] - low) * (65535 / (high - low)))
        assert np.abs(canvas[channel] - expected).max() <= 1
    with pytest.raises(DataError, match="1 channel, and 4 were measured"):
        map_range(pixels[..., :1], stored)


def test_clipping_is_noted_by_the_range_of_each_channel(tmp_path: Path) -> None:
    pixels = noise(8, 7, 4, dtype="uint16", top=4000)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    stored = settings(channels=(0, 1, 2, 3), range_policy="minmax", range_low=0, range_high=4000, deep=True,
                      mean=(0.5,) * 4, std=(0.5,) * 4, channel_ranges=((0, 4000),) * 3 + ((0, 10),))  # fmt: skip
    images = ImageList(tmp_path, ["./a.tif"], [])
    assert any("lie outside the ranges of their channels" in note for note in check_stored(images, stored))
    assert check_stored(images, replace(stored, channel_ranges=((0, 4000),) * 4)) == []


def test_low_contrast_channel_is_noted_with_the_option(tmp_path: Path) -> None:
    pixels = noise(8, 7, 4, dtype="uint16", top=4000)
    pixels[..., 2] = 100 + pixels[..., 2] // 40
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    images = ImageList(tmp_path, ["./a.tif"], [])
    asked = SourceReading((0, 1, 2, 3))
    (warning,) = survey(images, "fixed:0,4000", asked).warnings
    assert warning.startswith("of the 4 channels, counted from 0, 2 (1")
    assert warning.endswith("that all share, and have hardly any contrast; --range minmax measures one per channel")
    assert survey(images, "image:1,99", asked).warnings == []
    (canvas,) = Reader(settings(channels=(2, 0, 1, 3), range_policy="image", range_low=1, range_high=99, deep=True,
                                mean=(0.5,) * 4, std=(0.5,) * 4), 32).canvases(str(tmp_path / "a.tif"))  # fmt: skip
    assert canvas[0].max() == 65535  # its own range, whatever the others have


def test_for_channels_extends_the_mean_to_any_number_of_channels() -> None:
    rgb = (0.1, 0.2, 0.6)
    assert for_channels(rgb, 3) is rgb
    assert for_channels(rgb, 1) == pytest.approx((0.3,))
    assert for_channels(rgb, 2) == (0.1, 0.2)
    assert for_channels(rgb, 5) == pytest.approx((0.1, 0.2, 0.6, 0.3, 0.3))
    about = settings(mean=for_channels(rgb, 5), std=for_channels(rgb, 5), channels=first_channels(5))
    assert (about.in_chans, about.canvas_channels, about.channels) == (5, 5, (0, 1, 2, 3, 4))
    assert Preprocess.from_dict(about.to_dict()) == about
    assert (settings(grey=True).in_chans, settings(grey=True).canvas_channels) == (3, 1)
    assert [first_channels(count) for count in (1, 3)] == [(), ()]
