"""Survey: properties and intensity range of a dataset from a sample."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinocli.data.decode import read_native
from dinocli.data.image_sample import SourceReading
from dinocli.data.read import Reader
from dinocli.data.sources import find_images
from dinocli.data.stored_reading import check_stored
from dinocli.data.survey import Survey, survey
from dinocli.errors import DataError, UsageError
from tests.data.files import Array, gdal_tiff, noise, save, settings


def survey_of(root: Path, range_spec: str = "auto", sample: int = 256, seed: int = 0, **asked: Any) -> Survey:
    return survey(find_images([str(root)]), range_spec, SourceReading(**asked), sample=sample, seed=seed)


def deep(root: Path, *arrays: Array) -> Path:
    for i, array in enumerate(arrays):
        tifffile.imwrite(root / f"{i}.tif", array)
    return root


def test_a_survey_of_8_bit_colour_images(tmp_path: Path) -> None:
    for i, size in enumerate([(10, 30), (20, 20), (40, 10)]):
        save(tmp_path / f"{i}.png", noise(*size, 3))
    seen = survey_of(tmp_path)
    assert (seen.policy, seen.low, seen.high, seen.deep, seen.grey) == ("full", 0, 255, False, False)
    assert (seen.median_size, seen.sampled) == ((20, 20), 3)
    assert (seen.dtypes, seen.bad, seen.notes) == ({"uint8": 3}, [], [])


def test_12_bit_data_in_16_bit_files_use_their_bit_depth(tmp_path: Path) -> None:
    seen = survey_of(deep(tmp_path, noise(50, 50, dtype="uint16", top=4095)))
    assert (seen.policy, seen.low, seen.high, seen.deep, seen.grey) == ("auto", 0, 4095, True, True)
    assert seen.notes == ["12-bit data in 16-bit files: range 0 to 4095"]


def test_auto_leaves_headroom_for_hot_and_dark_pixels(tmp_path: Path) -> None:
    pixels = np.full((100, 100), 20_000, np.uint16)
    pixels[0, 0], pixels[0, 1] = 10_000, 30_000
    deep(tmp_path, pixels)
    assert (survey_of(tmp_path).low, survey_of(tmp_path).high) == (8_000, 32_000)
    assert (survey_of(tmp_path, "minmax").low, survey_of(tmp_path, "minmax").high) == (10_000, 30_000)


def test_headroom_of_float_and_signed_data(tmp_path: Path) -> None:
    deep(tmp_path, np.array([[-1.0, np.nan, np.inf, 1.0]], np.float32))
    assert (survey_of(tmp_path).low, survey_of(tmp_path).high) == pytest.approx((-1.2, 1.2))


def test_few_hot_pixels_are_kept_and_noted(tmp_path: Path) -> None:
    pixels = noise(200, 200, dtype="uint16", top=1000)
    pixels[7, 7] = 65535
    seen = survey_of(deep(tmp_path, pixels))
    assert seen.high == 65535
    assert "--range percentile:0.1,99.9" in seen.notes[1]


def test_range_policies_give_their_range(tmp_path: Path) -> None:
    deep(tmp_path, np.arange(1001, dtype=np.uint16)[None])
    for spec, expected in (
        ("full", (0, 65535)),
        ("window:100,40", (80, 120)),
        ("fixed:3,9", (3, 9)),
        ("percentile:10,90", (100, 900)),
    ):
        seen = survey_of(tmp_path, spec)
        assert (seen.policy, seen.low, seen.high) == (spec.partition(":")[0], *expected)
    with pytest.raises(UsageError):
        survey_of(tmp_path, "sunny")


def test_mixed_depths_are_refused_by_a_measured_range(tmp_path: Path) -> None:
    deep(tmp_path, noise(8, 8, dtype="uint16"))
    save(tmp_path / "a.png", noise(8, 8))
    with pytest.raises(DataError, match="--range full"):
        survey_of(tmp_path)
    assert survey_of(tmp_path, "full").deep


@pytest.mark.parametrize(("first", "second"), [("uint16", "float32"), ("uint8", "float32"), ("int16", "uint8")])
@pytest.mark.parametrize("range_spec", ["auto", "minmax", "percentile:1,99"])
def test_depth_kinds_share_no_measured_range(tmp_path: Path, first: str, second: str, range_spec: str) -> None:
    deep(tmp_path, noise(8, 8).astype(first), noise(8, 8).astype(first), (noise(8, 8) / 255).astype(second))
    with pytest.raises(DataError, match=r"1 .* and 2 .* images are mixed|2 .* and 1 .* images are mixed"):
        survey_of(tmp_path, range_spec)
    assert survey_of(tmp_path, "image:1,99").source == survey_of(tmp_path, "full").source == ""


def test_depth_kind_is_stored_with_a_measured_range(tmp_path: Path) -> None:
    deep(tmp_path, noise(8, 8, dtype="uint16"))
    assert survey_of(tmp_path).source == "deep integer"
    assert survey_of(tmp_path, "fixed:0,9").source == ""


def test_float_values_clipped_by_the_full_range_are_noted(tmp_path: Path) -> None:
    deep(tmp_path, np.array([[0.0, 0.5, 1.0]], np.float32))
    assert survey_of(tmp_path, "full").warnings == []
    deep(tmp_path, np.array([[-3.0, 0.5, 4000.0]], np.float32))
    assert "--range fixed:-3,4000" in survey_of(tmp_path, "full").warnings[0]
    stored, images = settings(range_policy="full"), find_images([str(tmp_path)])
    assert check_stored(images, stored)[0].endswith("--range fixed:-3,4000 keeps them")
    (note,) = check_stored(images, stored, "det")
    assert note.endswith("--range fixed:-3,4000 keeps them: make det again with it"), "a detector refuses --range"


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *(("int16", -9999), ("uint16", 65535), ("float32", -3.4e38), ("uint16", 0)),
        *(("int32", -(2**31)), ("float32", -3.4028234663852886e38), ("float64", 1e20), ("int16", -32768)),
    ],
)
def test_nodata_is_excluded_from_the_range(tmp_path: Path, dtype: str, value: float) -> None:
    clean = noise(40, 40, dtype="uint16", top=1000).astype(dtype) + np.dtype(dtype).type(1000)
    holed = clean.copy()
    holed[:20, :30] = value
    (tmp_path / "clean").mkdir()
    deep(tmp_path / "clean", clean[20:])
    expected = survey_of(tmp_path / "clean")
    (tmp_path / "tag").mkdir()
    gdal_tiff(tmp_path / "tag" / "a.tif", holed, repr(value))
    tagged = survey_of(tmp_path / "tag")
    assert (tagged.low, tagged.high) == pytest.approx((expected.low, expected.high), abs=40)
    assert tagged.warnings == []
    assert tagged.notes[0].startswith("1 of 1 files tag or mask nodata")
    (tmp_path / "bare").mkdir()
    deep(tmp_path / "bare", holed)
    assert survey_of(tmp_path / "bare", nodata=(value,)).low == tagged.low
    (warning,) = survey_of(tmp_path / "bare").warnings
    assert warning.startswith(f"{value:g} holds 37.5% of the pixels")
    advised = warning.partition("--nodata ")[2].partition(",")[0]
    assert ", else --range fixed:10" in warning
    assert survey_of(tmp_path / "bare", nodata=(float(advised),)).low == tagged.low, "the advice helps"
    assert survey_of(tmp_path / "bare", "fixed:0,2000").warnings == []


def test_saturation_and_hot_pixels_are_not_noted_as_nodata(tmp_path: Path) -> None:
    exposed = np.clip(noise(100, 100, dtype="uint16", top=5000) * 1.0, 0, 4095).astype(np.uint16)
    hot = noise(100, 100, dtype="uint16", top=1000)
    hot[7, 7] = 65535
    for number, pixels in enumerate((exposed, hot)):
        (tmp_path / str(number)).mkdir()
        assert survey_of(deep(tmp_path / str(number), pixels)).warnings == []


def test_survey_raises_no_numpy_warning(tmp_path: Path) -> None:
    """Warnings are errors in these tests."""
    odd = np.array([[np.nan, np.inf, -np.inf, 1.0, -3.4e38, 3.4e38]] * 3, np.float32)
    for pixels in (odd, odd.astype(np.float64) * 1e269, np.repeat(odd[..., None], 3, -1)):
        kind = "rgb" if pixels.ndim == 3 else "minisblack"
        tifffile.imwrite(tmp_path / "0.tif", pixels, photometric=kind)
        seen = survey_of(tmp_path)
        about = settings(range_policy="auto", range_low=seen.low, range_high=seen.high, deep=True)
        assert Reader(about, 9).canvases(str(tmp_path / "0.tif"))


def rgba(alpha: Array) -> Array:
    return np.concatenate([noise(*alpha.shape, 3), alpha[..., None]], axis=-1)


def test_alpha_that_holds_data_is_ignored_and_real_alpha_is_not(tmp_path: Path) -> None:
    mask = np.full((40, 40), 255, np.uint8)
    opaque = rgba(mask)
    mask = mask.copy()
    mask[:10] = 0
    mask[10] = 90
    kinds = {"opaque": opaque, "mask": rgba(mask), "even": rgba(np.full((40, 40), 51, np.uint8))}
    kinds["infrared"] = rgba(noise(40, 40, top=200))
    seen = {}
    for name, pixels in kinds.items():
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
        seen[name] = survey_of(tmp_path / name)
    assert {name: one.alpha for name, one in seen.items() if one.alpha != "white"} == {"infrared": "ignore"}
    assert seen["opaque"].warnings == []
    laid = "alpha composited over white in 1 of 1 files; --channels 0,1,2 ignores it"
    assert seen["mask"].warnings == seen["even"].warnings == [laid]
    assert "alpha ignored in 1 of 1 files" in seen["infrared"].warnings[0]
    assert survey_of(tmp_path / "mask", channels=(0, 1, 2)).warnings == []


def test_transparent_pixels_are_excluded_from_the_range(tmp_path: Path) -> None:
    pixels = noise(40, 40, 4, dtype="uint16", top=900)
    pixels[..., 3] = 65535
    pixels[:20, :, :3], pixels[:20, :, 3] = 40_000, 0
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    assert survey_of(tmp_path).high < 1024


def test_several_pages_are_noted(tmp_path: Path) -> None:
    deep(tmp_path, noise(8, 8, dtype="uint16"))
    tifffile.imwrite(tmp_path / "b.tif", noise(3, 8, 8, dtype="uint16"), photometric="minisblack")
    (warning,) = survey_of(tmp_path).warnings
    assert warning == "1 of 2 files have several pages; page 0 is read (--page N, --channels page, --z max)"
    frames = [Image.fromarray(noise(8, 8, seed=seed)) for seed in range(2)]
    (tmp_path / "gif").mkdir()
    frames[0].save(tmp_path / "gif" / "a.gif", save_all=True, append_images=frames[1:])
    (warning, *_) = survey_of(tmp_path / "gif").warnings
    assert warning == "1 of 1 files have several pages; page 0 is read (--page N)", "the other ways are for TIFF"
    (tmp_path / "gif" / "a.gif").unlink()
    assert survey_of(tmp_path, channels=("page",)).warnings == []
    with tifffile.TiffWriter(tmp_path / "c.tif") as file:
        file.write(noise(8, 8, dtype="uint16"))
        file.write(noise(80, 80, dtype="uint16"))
    (warning,) = survey_of(tmp_path).warnings
    assert warning.endswith("; in 1 of them another is larger, in ./c.tif page 1")


def test_images_with_few_values_among_others_are_noted_as_masks(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [128, 0, 0], [0, 64, 192]], np.uint8)
    save(tmp_path / "0_manual1.png", colours[noise(20, 20) % 3])
    save(tmp_path / "1_manual1.png", np.zeros((20, 20, 3), np.uint8))
    assert survey_of(tmp_path).warnings == []  # a folder of masks, or of black and white drawings
    save(tmp_path / "2.png", noise(20, 20, 3))
    (warning,) = survey_of(tmp_path).warnings
    assert warning == (
        "2 of 3 files have at most 8 different values, such as ./0_manual1.png; if they are masks, --exclude GLOB "
        "leaves them out"
    )
    (tmp_path / "0_manual1.png").unlink()
    assert survey_of(tmp_path).warnings == []  # a blank image is not a mask


def test_unread_channels_are_noted(tmp_path: Path) -> None:
    for number in range(2):
        pixels = noise(8, 8, 4)
        tifffile.imwrite(tmp_path / f"{number}.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
    (warning,) = survey_of(tmp_path).warnings
    assert warning == "2 of 2 files have 4 channels; 0,1,2 are read (--channels 0,1,2,3 reads all)"
    assert survey_of(tmp_path, channels=(0, 1, 2)).warnings == []


@pytest.mark.parametrize(("dtype", "noted"), [("uint8", False), ("uint16", False), ("int16", True), ("float32", True)])
def test_values_without_a_white_are_not_inverted(tmp_path: Path, dtype: str, *, noted: bool) -> None:
    """WhiteIsZero: unsigned values are inverted, others are kept, and a note says so."""
    pixels = noise(8, 8, dtype="uint8").astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    notes = [text for text in survey_of(tmp_path).warnings if "0 is white" in text]
    assert notes == ["1 of 1 files say that 0 is white, and are read as stored: 0 stays dark"] * noted
    expected = pixels if noted else np.iinfo(dtype).max - pixels
    assert np.array_equal(read_native(tmp_path / "a.tif")[..., 0], expected)


def test_colour_is_recognised_under_a_data_alpha(tmp_path: Path) -> None:
    """Composited over white by a low near-infrared channel, all colours would be nearly white."""
    pixels = noise(40, 40, 4, dtype="uint16", top=4000)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    seen = survey_of(tmp_path)
    assert (seen.alpha, seen.grey) == ("ignore", False)


def test_images_are_checked_against_stored_preprocessing(tmp_path: Path) -> None:
    deep(tmp_path, noise(8, 8, dtype="uint16"))
    tifffile.imwrite(tmp_path / "b.tif", noise(3, 8, 8, dtype="uint16"), photometric="minisblack")
    images = find_images([str(tmp_path)])
    fitting, other = settings(source="deep integer", range_policy="auto", range_high=65535.0), settings(source="8-bit")
    (pages,) = check_stored(images, fitting)
    assert pages.startswith("1 of 2 files have several pages")
    kinds, pages = check_stored(images, other)
    assert kinds.startswith("2 of 2 files are uint16, and the range of these weights was measured on 8-bit images")
    assert "--range auto" in kinds
    assert check_stored(images, settings(channels=(0,))) == []
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    assert check_stored(images, fitting) == []


def test_constant_16_bit_images_have_no_range(tmp_path: Path) -> None:
    deep(tmp_path, np.full((4, 4), 7, np.uint16))
    with pytest.raises(DataError, match=r"all sampled pixels are 7; .*--range fixed"):
        survey_of(tmp_path, "minmax")


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "uint32", "int64", "float32"])
@pytest.mark.parametrize("scale", [1, 4])
def test_colour_in_a_small_part_of_a_wide_type_is_colour(tmp_path: Path, dtype: str, scale: int) -> None:
    """8- or 10-bit values in wide integers: the difference of channels counts relative to the values, not the type."""
    colour = noise(40, 40, 3).astype(dtype) * scale
    grey = np.repeat(noise(40, 40)[..., None], 3, -1).astype(dtype) * scale
    grey[3, 3] = np.array([60000, 60000, 60000], "uint16").astype(dtype)  # a hot pixel
    colour[3, 3] = grey[3, 3]
    for name, pixels in (("colour", colour), ("grey", grey)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", pixels)
        assert survey_of(tmp_path / name).grey == (name == "grey")


def test_rgb_images_without_colour_are_grey_unless_one_has_colour(tmp_path: Path) -> None:
    grey = np.array(Image.fromarray(noise(8, 8)).resize((160, 160), Image.Resampling.BICUBIC))
    Image.fromarray(np.repeat(grey[..., None], 3, -1)).save(tmp_path / "a.jpg")
    save(tmp_path / "b.png", np.repeat(grey[..., None], 3, -1))
    save(tmp_path / "c.png", grey)
    assert survey_of(tmp_path).grey
    tinted = np.repeat(grey[..., None], 3, -1)
    tinted[:80, :80, 0] = 200
    save(tmp_path / "d.png", tinted)
    assert not survey_of(tmp_path).grey


def test_sample_depends_on_the_seed(tmp_path: Path) -> None:
    for i in range(30):
        save(tmp_path / f"{i}.png", noise(10 + i, 10))
    first = survey_of(tmp_path, sample=5)
    assert first.sampled == 5
    assert survey_of(tmp_path, sample=5) == first
    assert survey_of(tmp_path, sample=5, seed=1) != first


def test_unreadable_images_are_listed_and_raise_if_all_are(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 1 sampled images can be read: \./a\.png: the file is empty"):
        survey_of(tmp_path)
    save(tmp_path / "b.png", noise(8, 8))
    assert survey_of(tmp_path).bad == [("./a.png", "the file is empty")]


def test_alpha_that_hides_everything_is_ignored(tmp_path: Path) -> None:
    """An alpha channel of another scale (12 bits, or 0 and 1) would turn whole images white."""
    for name, top, dtype in (("zero", 0, "uint8"), ("one", 1, "uint8"), ("twelve", 4095, "uint16")):
        (tmp_path / name).mkdir()
        pixels = rgba(np.full((40, 40), 1, np.uint8)).astype(dtype)
        pixels[..., 3] = top
        tifffile.imwrite(tmp_path / name / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
        assert survey_of(tmp_path / name).alpha == "ignore", name


def test_low_contrast_images_are_noted(tmp_path: Path) -> None:
    small = np.random.default_rng(0).random((8, 8), np.float32)
    for name, pixels in (("a", small), ("b", small * 4095)):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
    (warning,) = survey_of(tmp_path).warnings
    assert warning.startswith("1 of 2 files use less than a hundredth of the range -408")
    assert "such as ./a.tif" in warning
    assert "--range image:1,99" in warning
    assert survey_of(tmp_path, "image:1,99").warnings == []
    (tmp_path / "twelve").mkdir()
    deep(tmp_path / "twelve", noise(8, 8, dtype="uint16", top=4000))
    assert survey_of(tmp_path / "twelve").warnings == []
    (warning,) = survey_of(tmp_path / "twelve", "full").warnings
    assert warning.startswith("1 of 1 files use less than a sixteenth of the full range")
    for number in range(20):
        save(tmp_path / "twelve" / f"{number}.png", noise(8, 8))
    (warning,) = survey_of(tmp_path / "twelve", "full").warnings
    assert warning.startswith("1 of 21 files use less than a sixteenth"), "few deep images among many of 8 bits"
    assert warning.endswith("--range image:1,99 sets a range per image"), "one range does not fit both depths"


def test_values_outside_a_stored_range_are_noted(tmp_path: Path) -> None:
    deep(tmp_path, noise(8, 8, dtype="uint16", top=4095))
    about = settings(source="deep integer", range_policy="auto", range_high=1000.0, deep=True)
    (warning,) = check_stored(find_images([str(tmp_path)]), about)
    assert re.match(r"\d\d% of the pixels lie outside 0 to 1000, the range of these weights", warning), warning
    assert check_stored(find_images([str(tmp_path)]), replace(about, range_policy="percentile")) == []
    (kinds,) = check_stored(find_images([str(tmp_path)]), replace(about, source="float"))
    assert kinds.endswith("--range auto or another one measures a new range")
    assert kinds.startswith("1 of 1 files are uint16"), "what cannot be read at all is said once"


def test_colour_that_grey_weights_drop_is_noted(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise(8, 8))
    grey, images = settings(grey=True), find_images([str(tmp_path)])
    assert check_stored(images, grey) == []
    save(tmp_path / "b.png", noise(8, 8, 3))
    images = find_images([str(tmp_path)])
    (warning,) = check_stored(images, grey)
    assert warning.startswith("1 of 2 files have colour, such as ./b.png, and are read as grey")
    assert warning.endswith("as those of these weights were; --range auto reads them as they are")
    assert not survey(images, "auto").grey, "grey files are read with them"
    (warning,) = check_stored(images, grey, "feats.npy")
    assert warning.endswith("as those of feats.npy were")
    assert check_stored(images, settings(grey=False)) == []


@pytest.mark.parametrize("spec", ["fixed:900,1200", "window:1050,300"])
def test_images_outside_a_given_range_are_noted(tmp_path: Path, spec: str) -> None:
    """All of them would be black, and their features equal."""
    for number in range(20):
        save(tmp_path / f"{number:02}.png", noise(8, 8, seed=number))
    (warning,) = survey_of(tmp_path, spec).warnings
    assert warning.startswith("20 of 20 files lie outside the range 900 to 1200, such as ./")
    assert warning.endswith("and become black or white; --range auto or another one measures a new range")
    stored = settings(range_policy=spec.partition(":")[0], range_low=900.0, range_high=1200.0)
    images = find_images([str(tmp_path)])
    assert "lie outside the range 900 to 1200" in check_stored(images, stored)[0]
    assert check_stored(images, stored, "feats.npy")[0].endswith("a --range can fit both: make feats.npy again with it")
    inside = survey_of(tmp_path, "fixed:100,120")
    assert inside.warnings == [], "most pixels are clipped, as was asked for"
    save(tmp_path / "dark.png", np.arange(64, dtype=np.uint8).reshape(8, 8))
    assert survey_of(tmp_path, "fixed:100,120").warnings == [], "a few dark images are normal"


def test_mixed_depth_kinds_error_names_a_file(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.png", noise(8, 8))
    np.save(tmp_path / "stray.npy", np.linspace(-3, 700, 64, dtype=np.float32).reshape(8, 8))
    with pytest.raises(DataError, match=r"3 8-bit and 1 float images are mixed \(\./stray\.npy is float\)") as error:
        survey_of(tmp_path)
    assert "use --range fixed:-3,700 or image:1,99" in str(error.value), "a range that holds all values"
    assert survey_of(tmp_path, "image:1,99").sampled == 4, "as the message says"
    assert survey_of(tmp_path, "fixed:-3,700").sampled == 4, "as the message says"
    (warning, *_) = survey_of(tmp_path, "full").warnings
    assert warning.endswith("--range fixed:-3,700 keeps all")


@pytest.mark.parametrize(("dtype", "low", "high"), [("int16", -900, 1000), ("int32", -70_000, 80_000)])
def test_signed_values_in_a_small_part_of_the_full_range_are_noted(
    tmp_path: Path, dtype: str, low: int, high: int
) -> None:
    np.save(tmp_path / "a.npy", np.linspace(low, high, 64).astype(dtype).reshape(8, 8))
    (warning,) = survey_of(tmp_path, "full").warnings
    assert "use less than a sixteenth of the full range" in warning
    np.save(tmp_path / "a.npy", np.linspace(low * 30, high * 30, 64).astype(dtype).reshape(8, 8))
    assert (survey_of(tmp_path, "full").warnings == []) == (dtype == "int16")


def test_channels_first_arrays_are_noted(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(3, 8, 9))
    seen = survey_of(tmp_path)
    assert (seen.median_size, seen.grey) == ((8, 9), False)
    assert seen.warnings == ["1 of 1 arrays are read as (channels, height, width), by their shape"]


def test_nodata_value_that_no_pixel_has_is_noted(tmp_path: Path) -> None:
    deep(tmp_path, noise(8, 8, dtype="uint16", top=900))
    (warning,) = survey_of(tmp_path, nodata=(-9999.0, 0.5)).warnings[:1]
    assert warning == "no pixel of 1 files has the value of --nodata -9999"
    deep(tmp_path, np.full((8, 8), 7, np.uint16) * np.arange(8, dtype=np.uint16))
    assert not any("--nodata 7" in warning for warning in survey_of(tmp_path, nodata=(7.0,)).warnings)


def test_a_folder_of_blank_images_is_noted_and_one_blank_image_is_not(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / f"{name}.png", np.zeros((10, 10), np.uint8))
    (warning,) = survey_of(tmp_path).warnings
    assert re.match(r"all 2 sampled files are blank, such as ./[ab].png \(0 everywhere\)", warning)
    save(tmp_path / "c.png", noise(10, 10))
    assert not survey_of(tmp_path).warnings
