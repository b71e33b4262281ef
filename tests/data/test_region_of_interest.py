"""Region of interest: the pixels that are read, and refused values of --roi."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.data.image_sample import ImageSample, SourceReading, sample_image
from dinocli.data.read import Reader
from dinocli.data.region_of_interest import described_roi, parse_roi, region_box, region_of
from dinocli.errors import DataError, UsageError
from tests.data.files import noise, save, settings


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """A mask file of 80x60 px: a disc of radius 20 around (30, 40)."""
    y, x = np.mgrid[:60, :80]
    Image.fromarray((((y - 30) ** 2 + (x - 40) ** 2) <= 400).astype(np.uint8) * 7).save(tmp_path / "disc.png")
    return tmp_path / "disc.png"


def test_box_region_reads_like_the_cropped_image(tmp_path: Path) -> None:
    pixels = noise(60, 200, 3)
    whole, part = save(tmp_path / "a.png", pixels), save(tmp_path / "b.png", pixels[10:40, 20:170])
    reader = Reader(replace(settings(), roi="20,10,150,30"), 24)
    own = Reader(settings(), 24)
    for name in ("canvases", "whole", "full"):
        found, expected = getattr(reader, name)(whole), getattr(own, name)(part)
        assert len(found) == len(expected), name
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True)), name
    assert reader.count(whole) == own.count(part) > 1, "the windows of a strip are those of the box"
    assert (reader.size(whole), reader.box) == ((30, 150), (20, 10, 150, 30))
    np.testing.assert_array_equal(reader.in_memory(Image.open(whole)), own.whole(part))
    np.testing.assert_array_equal(reader.tile(whole, (0, 0, 9, 9)), own.tile(whole, (0, 0, 9, 9)))
    np.testing.assert_array_equal(reader.part(whole, (0, 0, 9, 9)), own.part(whole, (0, 0, 9, 9)))


def test_box_is_in_pixels_of_the_upright_full_resolution_image(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(12, 12, 3)).resize((640, 480), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[274] = 6
    picture.save(tmp_path / "a.jpg", quality=95, exif=exif)
    upright = np.asarray(Image.open(tmp_path / "a.jpg").transpose(Image.Transpose.ROTATE_270))
    (found,) = Reader(replace(settings(), roi="100,200,64,64"), 64).canvases(str(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(found.transpose(1, 2, 0), upright[200:264, 100:164])


def test_pixels_outside_the_mask_do_not_affect_the_canvas(tmp_path: Path, disc: Path) -> None:
    roi = parse_roi(str(disc))
    inside = np.asarray(Image.open(disc))[10:51, 20:61] > 0
    pixels = noise(60, 80, 3)
    other = np.where(np.asarray(Image.open(disc))[..., None] > 0, pixels, 255 - pixels)
    reader = Reader(replace(settings(), roi=roi), 64)
    found, same = (reader.full(save(tmp_path / f"{name}.png", some)) for name, some in (("a", pixels), ("b", other)))
    np.testing.assert_array_equal(found, same)
    np.testing.assert_array_equal(found[:, inside], pixels[10:51, 20:61].transpose(2, 0, 1)[:, inside])
    outside = found[:, ~inside]
    assert (outside == outside[:, :1]).all(), "one colour"
    np.testing.assert_allclose(outside[:, 0], found[:, inside].mean(axis=1), atol=0.5)
    assert region_box(roi) == (20, 10, 41, 41)
    assert "80x60 px, 26% inside" in described_roi(roi)
    assert pickle.loads(pickle.dumps(reader)) == reader


@pytest.mark.parametrize("range_policy", ["fixed", "image"])
def test_range_is_measured_inside_the_region(tmp_path: Path, disc: Path, range_policy: str) -> None:
    pixels = np.where(np.asarray(Image.open(disc)) > 0, noise(60, 80) // 4, 60_000).astype(np.uint16)
    path, roi = save(tmp_path / "a.png", pixels), parse_roi(str(disc))
    seen = sample_image(path, "a", SourceReading(roi=roi))
    assert isinstance(seen, ImageSample)
    assert (seen.size, seen.high < 64) == ((41, 41), True)
    about = replace(settings(), range_policy=range_policy, range_low=0.0, range_high=100.0, deep=True, grey=True)
    assert Reader(replace(about, roi=roi), 64).full(path).std() > 1000


def test_invalid_regions_are_refused_in_one_line(tmp_path: Path, disc: Path) -> None:
    assert parse_roi("none") == parse_roi("") == ""
    assert region_of("", (5, 5)) is None
    for text, words in (
        ("1,2,0,4", "no area"),
        ("1,2,3", "no such mask"),
        ("gone.png", "no such mask"),
        (str(tmp_path), "is a folder"),
    ):
        with pytest.raises(UsageError, match=words):
            parse_roi(text)
    Image.new("L", (4, 4)).save(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no mask")
    for name, words in (("empty.png", "is empty"), ("text.png", "cannot be read")):
        with pytest.raises(DataError, match=words):
            parse_roi(str(tmp_path / name))
    with pytest.raises(DataError, match=r"the box --roi 70,0,20,20 leaves its 80x60 px"):
        region_of("70,0,20,20", (60, 80))
    with pytest.raises(DataError, match=r"the mask of --roi has 80x60 px, the image 60x80"):
        region_of(parse_roi(str(disc)), (80, 60))
    with pytest.raises(DataError, match="damaged"):
        region_of("data:image/png;base64,AAAA", (60, 80))
