"""Masks as annotation tools write them: palettes, colours, alpha, lossy files, 16-bit labels."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from dinocli.data.mask_reader import check_size, read_mask
from dinocli.errors import DataError
from tests.data.hostile import bombs

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
"""The first colours of DAVIS."""


def objects() -> NDArray[np.uint8]:
    """Return background and three objects."""
    labels = np.zeros((40, 60), np.uint8)
    labels[5:15, 5:20], labels[20:35, 5:20], labels[10:30, 30:55] = 1, 2, 3
    return labels


def palette_image(labels: NDArray[np.uint8], palette: list[int]) -> Image.Image:
    image = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
    image.putpalette(palette)
    return image


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_palette_indices_are_labels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    palette_image(objects(), PALETTE).save(path)
    assert np.array_equal(read_mask(path).labels_HW, objects())


def test_unfilled_palette_indices_are_labels(tmp_path: Path) -> None:
    palette_image(objects(), [0] * 12).save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png").labels_HW, objects())


def test_black_is_background_at_any_index(tmp_path: Path) -> None:
    palette_image(objects(), [200, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 200]).save(tmp_path / "a.png")
    labels = read_mask(tmp_path / "a.png").labels_HW
    assert np.array_equal(labels == 0, objects() == 1)
    assert len(np.unique(labels)) == 4


def test_a_transparent_index_is_background(tmp_path: Path) -> None:
    image = palette_image(objects(), [10, 10, 10, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(tmp_path / "a.png", transparency=0)
    assert np.array_equal(read_mask(tmp_path / "a.png").labels_HW, objects())


def test_each_colour_is_a_label_and_black_is_background(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)[objects()]
    Image.fromarray(colours).save(tmp_path / "a.png")
    labels = read_mask(tmp_path / "a.png").labels_HW
    assert len(np.unique(labels)) == 4
    assert [int(labels[objects() == label][0] > labels[objects() == label - 1][0]) for label in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 0), (255, 255, 255)])
def test_transparent_pixels_are_background_at_any_colour(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[..., :3] = colour
    rgba[..., 3] = np.where(objects() == 1, 255, 0)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png").labels_HW > 0, objects() == 1)


def test_opaque_alpha_is_ignored(tmp_path: Path) -> None:
    grey = np.where(objects() > 0, 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 255)])).save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png").labels_HW > 0, objects() > 0)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossy_mask_is_thresholded_and_noted(tmp_path: Path, mode: str) -> None:
    Image.fromarray(np.where(objects() > 0, 255, 0).astype(np.uint8)).convert(mode).save(tmp_path / "a.jpg", quality=40)
    mask = read_mask(tmp_path / "a.jpg")
    assert np.array_equal(mask.labels_HW, objects() > 0)
    assert mask.note.startswith("a lossy file: cut at half")


def test_soft_edges_are_thresholded_and_many_labels_are_not(tmp_path: Path) -> None:
    wide = Image.fromarray(np.where(objects() > 0, 255, 0).astype(np.uint8)).resize(
        (600, 400), Image.Resampling.BICUBIC
    )
    wide.save(tmp_path / "soft.png")
    soft = read_mask(tmp_path / "soft.png")
    assert set(np.unique(soft.labels_HW)) == {0, 1}
    assert "most of them 255" in soft.note
    many = (np.arange(2400).reshape(40, 60) // 100).astype(np.uint8)
    Image.fromarray(many).save(tmp_path / "many.png")
    assert np.array_equal(read_mask(tmp_path / "many.png").labels_HW, many)
    assert not read_mask(tmp_path / "many.png").note


def test_ambiguous_soft_edges_are_thresholded_or_noted(tmp_path: Path) -> None:
    """The soft edges of thin objects look like many labels."""
    lines = np.zeros((20, 30), np.uint8)
    lines[np.arange(20), np.arange(20)] = 255
    Image.fromarray(lines).resize((61, 41), Image.Resampling.BICUBIC).save(tmp_path / "soft.png")
    mask = read_mask(tmp_path / "soft.png")
    assert set(np.unique(mask.labels_HW)) == {0, 1}
    assert re.fullmatch(r"\d+ values, most pixels unlike their neighbours: cut at half .*", mask.note), mask.note
    bars = np.zeros((40, 60), np.uint8)
    bars[:, ::3] = np.arange(20) * 12 + 10  # straight, so each pixel has its like
    Image.fromarray(bars).save(tmp_path / "bars.png")
    mask = read_mask(tmp_path / "bars.png")
    assert np.array_equal(mask.labels_HW, bars)
    assert mask.note == "21 values from 0 to 238 are taken as labels; save soft edges with two values"


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.float32])
def test_labels_of_any_depth_are_read(tmp_path: Path, dtype: type) -> None:
    largest = 60_000 if dtype == np.uint16 else 4_000_000
    labels: NDArray[np.generic] = objects().astype(dtype)
    labels[labels == 3] = largest
    tifffile.imwrite(tmp_path / "a.tif", labels)
    assert np.unique(read_mask(tmp_path / "a.tif").labels_HW).tolist() == [0, 1, 2, largest]


def test_negative_values_and_nan_are_background(tmp_path: Path) -> None:
    labels = objects().astype(np.float32)
    labels[0], labels[1] = -1, np.nan
    tifffile.imwrite(tmp_path / "a.tif", labels)
    mask = read_mask(tmp_path / "a.tif")
    assert np.array_equal(mask.labels_HW, objects())
    assert "negative values, down to -1" in mask.note


def test_mask_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    palette_image(np.rot90(objects(), 1).copy(), PALETTE).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_mask(tmp_path / "a.png").labels_HW, objects())


def test_file_that_is_not_an_image_raises(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="not an image"):
        read_mask(tmp_path / "a.png")


def test_the_void_of_pascal_voc_is_background(tmp_path: Path) -> None:
    image = palette_image(np.where(objects() == 3, 255, objects()), [*PALETTE, *[9] * (3 * 251), 224, 224, 192])
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png").labels_HW, np.where(objects() == 3, 0, objects()))


def test_pages_and_missing_background_are_noted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([objects() == 1, objects() == 2]).astype(np.uint8) * 255)
    mask = read_mask(tmp_path / "a.tif")
    assert np.count_nonzero(mask.labels_HW) == 150
    assert mask.note == "the first of several pages is read"
    Image.fromarray(objects() + 1).save(tmp_path / "trimap.png")
    assert read_mask(tmp_path / "trimap.png").note.startswith("no pixel is background")
    Image.fromarray(np.where(objects() == 1, 0, 255).astype(np.uint8)).save(tmp_path / "inverted.png")
    assert "in an inverted mask" in read_mask(tmp_path / "inverted.png").note
    Image.fromarray(np.where(objects() == 1, 0, objects() + 1).astype(np.uint8)).save(tmp_path / "dense.png")
    assert not read_mask(tmp_path / "dense.png").note


@pytest.mark.parametrize("name", ["canvas.gif", "claim.jpg", "thin.tif", "wide.tif", "scans.jpg", "colour.png"])
def test_mask_that_claims_too_many_pixels_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bombs()[name])
    with pytest.raises(DataError):
        read_mask(tmp_path / name)


def test_postscript_masks_start_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *a, **k: pytest.fail("a mask started a program"))
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match="not an image"):
        read_mask(tmp_path / "a.png")


def test_a_mask_of_another_size_is_refused_and_a_quarter_turn_is_named(tmp_path: Path) -> None:
    labels_HW = np.zeros((30, 40), np.int64)
    check_size(labels_HW, tmp_path / "1.png", (30, 40), "its image")
    with pytest.raises(
        DataError, match=r"1\.png has 40x30 px, its image 30x40; both .* size: turn the mask like .*EXIF"
    ):
        check_size(labels_HW, tmp_path / "1.png", (40, 30), "its image")
    with pytest.raises(DataError, match=r"has 40x30 px, its image 10x20; both need the same size$"):
        check_size(labels_HW, tmp_path / "1.png", (20, 10), "its image")
