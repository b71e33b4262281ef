"""Number of input channels of the network."""

from pathlib import Path

import pytest
import tifffile

from dinocli.config.preprocess import PAGES, Channels, Preprocess, first_channels, for_channels
from dinocli.data.image_sample import SourceReading
from dinocli.data.input_channels import described_channels, input_channels
from dinocli.data.read import Reader
from dinocli.data.sources import ImageList
from dinocli.data.survey import survey
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


def test_low_contrast_channel_is_noted_with_the_option(tmp_path: Path) -> None:
    pixels = noise(8, 7, 4, dtype="uint16", top=4000)
    pixels[..., 2] = 100 + pixels[..., 2] // 40
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    images = ImageList(tmp_path, ["./a.tif"], [])
    asked = SourceReading((0, 1, 2, 3))
    (warning,) = survey(images, "auto", asked).warnings
    assert warning.startswith("of the 4 channels, counted from 0, 2 (1")
    assert warning.endswith("that all share, and have hardly any contrast; --range image:1,99 sets one per channel")
    assert survey(images, "image:1,99", asked).warnings == []
    assert survey(images, "auto", SourceReading((0, 1, 3))).warnings == []
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
