"""Compressed TIFF without imagecodecs, which PIL decodes: the same pixels as tifffile gives, or the missing package."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinocli.data.decode import decode, read_native
from dinocli.data.limits import Allowance
from dinocli.data.pixels import Decoded
from dinocli.data.sources import find_images
from dinocli.data.survey import survey
from dinocli.errors import DataError
from tests.data.conftest import without_codecs
from tests.data.files import Array, noise

_NEEDED = r"needs imagecodecs: pip install 'dinocli\[tiff\]'"


def _decoded(path: Path) -> Decoded:
    with Allowance() as allowance:
        return decode(path, page=0, channels=(), min_side=9, allowance=allowance)


def _write(path: Path, extra: tuple[str, ...], dtype: str = "uint8", *, planar: bool = False, **more: Any) -> Array:
    """Write RGB with extra samples, compressed so that tifffile and PIL decode it."""
    pixels = noise(20, 30, 3 + len(extra), dtype=dtype)
    if extra[:1] == ("assocalpha",):
        pixels[..., 3] = pixels.max(axis=-1)
    stored = np.ascontiguousarray(pixels.transpose(2, 0, 1)) if planar else pixels
    about: dict[str, Any] = {"planarconfig": "separate" if planar else "contig", "extrasamples": extra or None, **more}
    tifffile.imwrite(path, stored, photometric="rgb", compression="zlib", **about)
    return pixels


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(
    ("extra", "unread", "off"), [((), 0, 0), (("unspecified",), 1, 0), (("unassalpha",), 0, 0), (("assocalpha",), 0, 1)]
)
def test_pil_gives_the_colours_of_tifffile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...], unread: int, off: int, *, planar: bool
) -> None:
    _write(tmp_path / "a.tif", extra, planar=planar)
    expected = _decoded(tmp_path / "a.tif")
    without_codecs(monkeypatch)
    found = _decoded(tmp_path / "a.tif")
    assert found.unread_channels == expected.unread_channels == unread
    assert (found.alpha is None) == (expected.alpha is None)
    assert np.abs(found.without_alpha().astype(int) - expected.without_alpha()).max() <= off


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("extra", [("unspecified",), ("unassalpha",), ("unspecified",) * 2])
def test_pil_gives_raw_samples_or_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...], *, planar: bool
) -> None:
    pixels = _write(tmp_path / "a.tif", extra, planar=planar)
    without_codecs(monkeypatch)
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=(2, 0)), pixels[..., [2, 0]])
    if extra == ("unassalpha",):
        assert np.array_equal(read_native(tmp_path / "a.tif", channels=(3, 1)), pixels[..., [3, 1]])
    else:
        with pytest.raises(DataError, match=_NEEDED):
            read_native(tmp_path / "a.tif", channels=(0, 1, 2, 3))
    with pytest.raises(DataError, match=f"channel 9 of an image with {3 + len(extra)}"):
        read_native(tmp_path / "a.tif", channels=(9,))
    if len(extra) > 1:
        with pytest.raises(DataError, match="5 channels: say which to read"):
            read_native(tmp_path / "a.tif")


@pytest.mark.parametrize("channels", [(0,), (3, 1)])
def test_colours_that_pil_divides_by_alpha_are_no_raw_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: tuple[int, ...]
) -> None:
    pixels = _write(tmp_path / "a.tif", ("assocalpha",))
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=channels), pixels[..., channels])
    without_codecs(monkeypatch)
    with pytest.raises(DataError, match=_NEEDED):
        read_native(tmp_path / "a.tif", channels=channels)


@pytest.mark.parametrize("channels", [(), (0, 1, 2)])
@pytest.mark.parametrize("extra", [("unspecified",), ("assocalpha",), ("unspecified",) * 2])
def test_16_bit_samples_that_pil_does_not_decode_need_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...], channels: tuple[int, ...]
) -> None:
    _write(tmp_path / "a.tif", extra, "uint16")
    without_codecs(monkeypatch)
    with pytest.raises(DataError, match=_NEEDED):
        read_native(tmp_path / "a.tif", channels=channels)


def test_16_bit_alpha_is_decoded_by_pil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = _write(tmp_path / "a.tif", ("unassalpha",), "uint16")
    without_codecs(monkeypatch)
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=(0, 1, 2, 3)), pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_raw_samples_of_cmyk_are_not_those_of_rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    pixels = noise(20, 30, 4, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="separated", compression="zlib")
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=(0,))[..., 0], pixels[..., 0])
    without_codecs(monkeypatch)
    with pytest.raises(DataError, match=_NEEDED):
        read_native(tmp_path / "a.tif", channels=(0,))


def test_band_names_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("red", "green", "blue", "nir")
    items = (f'<Item sample="{n}" role="description">{name}</Item>' for n, name in enumerate(names))
    tag = (42112, "s", 0, f"<GDALMetadata>{''.join(items)}</GDALMetadata>", True)
    pixels = _write(tmp_path / "a.tif", ("unassalpha",), extratags=[tag])
    without_codecs(monkeypatch)
    assert np.array_equal(read_native(tmp_path / "a.tif", channels=("nir", "green")), pixels[..., [3, 1]])


def test_unread_band_of_lzw_is_noted(tmp_path: Path) -> None:
    pixels = noise(20, 30, 4)
    Image.frombytes("RGBX", (30, 20), pixels.tobytes()).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert np.array_equal(read_native(tmp_path / "a.tif"), pixels[..., :3])
    (warning,) = survey(find_images([str(tmp_path)]), "auto").warnings
    assert warning == "1 of 1 files have 4 channels; 0,1,2 are read (--channels 0,1,2,3 reads all)"


def test_float_values_of_which_0_is_white_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).random((20, 30), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite", compression="zlib")
    without_codecs(monkeypatch)
    found = _decoded(tmp_path / "a.tif")
    assert found.not_inverted
    assert np.array_equal(found.colour[..., 0], pixels)
