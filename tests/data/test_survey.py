"""What a sample of a folder says about the whole of it."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinocli.data.sources import find_images
from dinocli.data.survey import Survey, survey
from dinocli.errors import DataError, UsageError
from tests.data.files import Array, noise, save


def look(root: Path, range_spec: str = "auto", sample: int = 256, seed: int = 0) -> Survey:
    return survey(find_images([str(root)]), range_spec=range_spec, channels=(), page=0, sample=sample, seed=seed)


def deep(root: Path, *arrays: Array) -> Path:
    for i, array in enumerate(arrays):
        tifffile.imwrite(root / f"{i}.tif", array)
    return root


def test_8_bit_colour(tmp_path: Path) -> None:
    for i, size in enumerate([(10, 30), (20, 20), (40, 10)]):
        save(tmp_path / f"{i}.png", noise(*size, 3))
    seen = look(tmp_path)
    assert (seen.policy, seen.low, seen.high, seen.deep, seen.grey) == ("full", 0, 255, False, False)
    assert (seen.median_size, seen.max_size, seen.sampled) == ((20, 20), (40, 30), 3)
    assert (seen.dtypes, seen.bad, seen.notes) == ({"uint8": 3}, [], [])


def test_12_bit_in_16_bit_files_is_not_black(tmp_path: Path) -> None:
    seen = look(deep(tmp_path, noise(50, 50, dtype="uint16", top=4095)))
    assert (seen.policy, seen.low, seen.high, seen.deep, seen.grey) == ("auto", 0, 4095, True, True)
    assert seen.notes == ["12-bit data in 16-bit files: range 0 to 4095"]


def test_auto_leaves_headroom_for_hot_and_dark_pixels(tmp_path: Path) -> None:
    pixels = np.full((100, 100), 20_000, np.uint16)
    pixels[0, 0], pixels[0, 1] = 10_000, 30_000
    deep(tmp_path, pixels)
    assert (look(tmp_path).low, look(tmp_path).high) == (8_000, 32_000)
    assert (look(tmp_path, "minmax").low, look(tmp_path, "minmax").high) == (10_000, 30_000)


def test_headroom_of_float_and_signed_data(tmp_path: Path) -> None:
    deep(tmp_path, np.array([[-1.0, np.nan, np.inf, 1.0]], np.float32))
    assert (look(tmp_path).low, look(tmp_path).high) == pytest.approx((-1.2, 1.2))


def test_a_few_hot_pixels_are_kept_and_talked_about(tmp_path: Path) -> None:
    pixels = noise(200, 200, dtype="uint16", top=1000)
    pixels[7, 7] = 65535
    seen = look(deep(tmp_path, pixels))
    assert seen.high == 65535
    assert "--range percentile:0.1,99.9" in seen.notes[1]


def test_ranges_on_request(tmp_path: Path) -> None:
    deep(tmp_path, np.arange(1001, dtype=np.uint16)[None])
    for spec, expected in (
        ("full", (0, 65535)),
        ("window:100,40", (80, 120)),
        ("fixed:3,9", (3, 9)),
        ("percentile:10,90", (100, 900)),
    ):
        seen = look(tmp_path, spec)
        assert (seen.policy, seen.low, seen.high) == (spec.partition(":")[0], *expected)
    with pytest.raises(UsageError):
        look(tmp_path, "sunny")


def test_mixed_depths_need_a_word(tmp_path: Path) -> None:
    deep(tmp_path, noise(8, 8, dtype="uint16"))
    save(tmp_path / "a.png", noise(8, 8))
    with pytest.raises(DataError, match="--range full"):
        look(tmp_path)
    assert look(tmp_path, "full").deep


def test_a_flat_deep_folder_has_no_range(tmp_path: Path) -> None:
    deep(tmp_path, np.full((4, 4), 7, np.uint16))
    with pytest.raises(DataError, match=r"all sampled pixels are 7; .*--range fixed"):
        look(tmp_path, "minmax")


def test_grey_stored_as_colour_is_grey_and_one_coloured_image_ends_that(tmp_path: Path) -> None:
    grey = np.array(Image.fromarray(noise(8, 8)).resize((160, 160), Image.Resampling.BICUBIC))
    Image.fromarray(np.repeat(grey[..., None], 3, -1)).save(tmp_path / "a.jpg")
    save(tmp_path / "b.png", np.repeat(grey[..., None], 3, -1))
    save(tmp_path / "c.png", grey)
    assert look(tmp_path).grey
    tinted = np.repeat(grey[..., None], 3, -1)
    tinted[:80, :80, 0] = 200
    save(tmp_path / "d.png", tinted)
    assert not look(tmp_path).grey


def test_the_sample_is_fixed_by_the_seed(tmp_path: Path) -> None:
    for i in range(30):
        save(tmp_path / f"{i}.png", noise(10 + i, 10))
    first = look(tmp_path, sample=5)
    assert first.sampled == 5
    assert look(tmp_path, sample=5) == first
    assert look(tmp_path, sample=5, seed=1) != first


def test_unreadable_images_are_named_unless_they_are_all(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 1 sampled images can be read: \./a\.png: the file is empty"):
        look(tmp_path)
    save(tmp_path / "b.png", noise(8, 8))
    assert look(tmp_path).bad == [("./a.png", "the file is empty")]
