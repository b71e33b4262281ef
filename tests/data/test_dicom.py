"""DICOM pixels against those of pydicom."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import apply_modality_lut, pixel_array
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from dinocli.data.decode import decode, image_size, page_count, read_native
from dinocli.data.image_formats import image_suffixes
from dinocli.data.limits import Allowance
from dinocli.data.sources import find_images
from dinocli.data.survey import survey
from dinocli.errors import DataError
from tests.data.files import Array, noise


def write(path: Path, pixels: Array, *, frames: int = 0, packed: bool = False, **more: Any) -> Path:
    """Write a DICOM file of (h, w), (h, w, 3) or frames of them."""
    about = Dataset()
    about.file_meta = FileMetaDataset()
    about.file_meta.MediaStorageSOPClassUID = CTImageStorage
    about.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    about.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    about.SOPClassUID, about.SOPInstanceUID = CTImageStorage, "1.2.3"
    about.Rows, about.Columns = pixels.shape[1:3] if frames else pixels.shape[:2]
    about.SamplesPerPixel = pixels.shape[-1] if pixels.ndim - bool(frames) == 3 else 1
    about.PhotometricInterpretation = "RGB" if about.SamplesPerPixel == 3 else "MONOCHROME2"
    about.PlanarConfiguration = 0
    about.BitsAllocated = about.BitsStored = 8 * pixels.itemsize
    about.HighBit = about.BitsStored - 1
    about.PixelRepresentation = int(pixels.dtype.kind == "i")
    if frames:
        about.NumberOfFrames = frames
    about.PixelData = pixels.tobytes()
    for key, value in more.items():
        setattr(about, key, value)
    if packed:
        about.compress(RLELossless, pixels, generate_instance_uid=False)
    about.save_as(path, enforce_file_format=True)
    return path


def pydicom_values(path: Path, **more: Any) -> Array:
    return np.asarray(apply_modality_lut(pixel_array(path, **more), dcmread(path)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_stored_values_are_those_of_pydicom(tmp_path: Path, dtype: str, packed: bool) -> None:
    pixels = noise(20, 30, 1, dtype="uint16")[..., 0].astype(dtype)
    path = write(tmp_path / "a.dcm", pixels, packed=packed)
    found = read_native(path)
    assert found.dtype == pixels.dtype
    assert np.array_equal(found[..., 0], pixels)
    assert np.array_equal(found[..., 0], pydicom_values(path))
    assert image_size(path) == (20, 30)


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(1, -1024, "int32"), (2, 5, "int32"), (0.25, -3.5, "float32")]
)
def test_rescale_slope_and_intercept_are_applied(tmp_path: Path, slope: float, intercept: float, dtype: str) -> None:
    pixels = noise(20, 30, 1, dtype="uint16")[..., 0] % 4096
    path = write(tmp_path / "a.dcm", pixels, RescaleSlope=slope, RescaleIntercept=intercept, BitsStored=12, HighBit=11)
    found = read_native(path)
    assert found.dtype == dtype
    np.testing.assert_allclose(found[..., 0], pydicom_values(path), rtol=1e-6)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_single_bits_are_black_and_white(tmp_path: Path, kind: str) -> None:
    bits = noise(16, 24) > 127
    path = write(tmp_path / "a.dcm", bits.astype(np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0)
    about = dcmread(path)
    about.PixelData = np.packbits(bits, bitorder="little").tobytes()
    about.PhotometricInterpretation = kind
    about.save_as(path, enforce_file_format=True)
    white = bits if kind == "MONOCHROME2" else ~bits
    assert np.array_equal(read_native(path)[..., 0], white * 255)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    pixels = np.array([[0, 100], [4000, 4095]], np.uint16)
    more: dict[str, Any] = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    plain = read_native(write(tmp_path / "a.dcm", pixels, **more))
    assert plain[..., 0].tolist() == [[4095, 3995], [95, 0]]
    scaled = read_native(write(tmp_path / "b.dcm", pixels, **more, RescaleSlope=1, RescaleIntercept=-1000))
    assert scaled[..., 0].tolist() == [[3095, 2995], [-905, -1000]]


def test_dicom_frames_are_read_as_pages(tmp_path: Path) -> None:
    pixels = noise(8, 6, 3).transpose(2, 0, 1).copy()
    path = write(tmp_path / "a.dcm", pixels, frames=3)
    assert page_count(path) == (3, 0)
    for page in range(3):
        assert np.array_equal(read_native(path, page=page)[..., 0], pixels[page])
    with pytest.raises(DataError, match="page 3 of a file with 3"):
        read_native(path, page=3)


def test_a_preamble_that_is_the_header_of_a_tiff_is_ignored(tmp_path: Path) -> None:
    """Such files are common: the standard lets a viewer of TIFF open them."""
    pixels = noise(20, 30, 1)[..., 0]
    path = write(tmp_path / "a.dcm", pixels)
    raw = path.read_bytes()
    path.write_bytes(b"II*\0\xff\xff\0\0" + raw[8:])
    assert np.array_equal(read_native(path)[..., 0], pixels)
    assert image_size(path) == (20, 30)
    assert page_count(path) == (1, 0)


def test_a_deflated_dicom_is_read(tmp_path: Path) -> None:
    pixels = noise(20, 30, 1, dtype="uint16")[..., 0]
    about = dcmread(write(tmp_path / "a.dcm", pixels))
    about.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    about.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    assert np.array_equal(read_native(tmp_path / "b.dcm")[..., 0], pixels)


def test_frames_of_an_enhanced_file_have_their_own_slope(tmp_path: Path) -> None:
    def group(slope: float, intercept: float) -> Dataset:
        values, functional = Dataset(), Dataset()
        values.RescaleSlope, values.RescaleIntercept = slope, intercept
        functional.PixelValueTransformationSequence = [values]
        return functional

    pixels = noise(8, 6, 2).transpose(2, 0, 1).copy()
    shared: dict[str, Any] = {"SharedFunctionalGroupsSequence": [group(2, -1000)]}
    each: dict[str, Any] = {"PerFrameFunctionalGroupsSequence": [group(1, 5), group(3, 7)]}
    first = write(tmp_path / "a.dcm", pixels, frames=2, **shared)
    assert np.array_equal(read_native(first, page=1)[..., 0], pixels[1] * 2.0 - 1000)
    second = write(tmp_path / "b.dcm", pixels, frames=2, **shared, **each)
    assert np.array_equal(read_native(second)[..., 0], pixels[0] + 5.0)
    assert np.array_equal(read_native(second, page=1)[..., 0], pixels[1] * 3.0 + 7)


def test_dicom_colour_becomes_rgb(tmp_path: Path) -> None:
    pixels = noise(8, 6, 3)
    assert np.array_equal(read_native(write(tmp_path / "a", pixels)), pixels), "the content decides, not the name"
    assert np.array_equal(read_native(tmp_path / "a", channels=(2, 0, 1)), pixels[..., [2, 0, 1]])


def test_display_window_of_the_files_is_noted(tmp_path: Path) -> None:
    for number in range(3):
        pixels = (noise(20, 30, 1, dtype="uint16")[..., 0] % 4096).astype(np.uint16)
        write(
            tmp_path / f"{number}.dcm",
            pixels,
            WindowCenter=[40, 50],
            WindowWidth=[400, 350],
            RescaleIntercept=-1024,
            RescaleSlope=1,
        )
    assert ".dcm" in image_suffixes()
    images = find_images([str(tmp_path)])
    assert len(images) == 3
    found = survey(images, "auto")
    assert found.deep
    assert found.grey
    assert any("--range window:40,400" in text for text in found.warnings)
    asked = survey(images, "window:40,400")
    assert (asked.low, asked.high) == (-160, 240)
    assert not any("window" in text for text in asked.warnings)


def test_damaged_dicom_raises_a_one_line_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", noise(20, 30, 1)[..., 0])
    raw = path.read_bytes()
    for number, damage in enumerate((raw[:140], raw[:300], raw[:-200], raw[:132] + b"\0" * 500)):
        (tmp_path / f"{number}.dcm").write_bytes(damage)
        with pytest.raises(DataError) as caught:
            read_native(tmp_path / f"{number}.dcm")
        assert "\n" not in str(caught.value)
    about = dcmread(path)
    about.Rows = about.Columns = 60000
    about.save_as(tmp_path / "large.dcm")
    with pytest.raises(DataError, match="pixels"):
        read_native(tmp_path / "large.dcm")


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_padding_pixels_are_nodata(tmp_path: Path, photometric: str) -> None:
    pixels = np.array([[-2000, -2000, -1990], [30, 40, 50]], np.int16)
    more: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -1024, "PhotometricInterpretation": photometric}
    for last, masked in ((None, 2), (-1990, 3)):
        limit: dict[str, Any] = {} if last is None else {"PixelPaddingRangeLimit": last}
        path = write(tmp_path / "a.dcm", pixels, PixelPaddingValue=-2000, **more, **limit)
        with Allowance() as allowance:
            missing = decode(path, page=0, channels=(), min_side=9, allowance=allowance).nodata_mask()
        assert missing is not None
        assert missing.ravel().tolist() == [True] * masked + [False] * (6 - masked)
    seen = survey(find_images([str(path)]), "minmax")
    assert (seen.high - seen.low, seen.notes[0][:31]) == (20, "1 of 1 files tag or mask nodata")


def test_dicom_without_preamble_names_the_fix(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", noise(20, 30))
    path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(DataError, match="force=True"):
        read_native(path)
