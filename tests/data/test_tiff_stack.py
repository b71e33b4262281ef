"""TIFF stacks along z, by the axes of the file, against tifffile."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dinocli.config.preprocess import parse_z
from dinocli.data.decode import page_count, read_native
from dinocli.data.read import Reader
from dinocli.errors import DataError, UsageError
from tests.data.files import noise, settings

TZCYX, NAMES = noise(2, 4, 3, 20, 30, dtype="uint16"), ("DAPI", "GFP", "Cy5")


@pytest.fixture
def ome(tmp_path: Path) -> str:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, TZCYX, metadata={"axes": "TZCYX", "Channel": {"Name": NAMES}})
    return str(path)


def _read(path: str, z: str, channels: tuple[int | str, ...] = (), page: int = 0) -> np.ndarray:
    grey = len(channels) == 1
    about = replace(settings(), z=z, channels=channels, page=page, deep=True, grey=grey)
    return Reader(about, 64).full(path)


@pytest.mark.parametrize("axes", ["TZCYX", "TCZYX", "CZTYX"])
def test_projections_equal_tifffile_for_any_axis_order(tmp_path: Path, axes: str) -> None:
    pixels = TZCYX.transpose(["TZCYX".index(axis) for axis in axes])
    path = str(tmp_path / "a.ome.tif")
    tifffile.imwrite(path, np.ascontiguousarray(pixels), metadata={"axes": axes, "Channel": {"Name": NAMES}})
    with tifffile.TiffFile(path) as file:
        whole = file.series[0].asarray()
        along = {axis: file.series[0].axes.index(axis) for axis in "TZC"}
    for page in (0, 1):
        stack = np.moveaxis(whole, [along["T"], along["C"], along["Z"]], [0, 1, 2])[page]
        wanted = {"max": stack.max(axis=1), "mean": np.rint(stack.mean(axis=1)), "2": stack[:, 2]}
        for z, expected in wanted.items():
            np.testing.assert_array_equal(_read(path, z, ("C:Cy5", "DAPI", 1), page), expected[[2, 0, 1]])
            np.testing.assert_array_equal(_read(path, z, (), page), expected)


def test_imagej_stacks_and_pages_without_axes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, TZCYX, imagej=True, metadata={"axes": "TZCYX"})
    np.testing.assert_array_equal(_read(str(path), "max", (1,), 1)[0], TZCYX[1, :, 1].max(axis=0))
    for shaped in (True, False):
        more = {} if shaped else {"metadata": None}
        tifffile.imwrite(path, TZCYX[0, :, 0], photometric="minisblack", **more)
        np.testing.assert_array_equal(_read(str(path), "max", (0,))[0], TZCYX[0, :, 0].max(axis=0))
    tifffile.imwrite(path, TZCYX[0, 0, 0], metadata=None)
    np.testing.assert_array_equal(_read(str(path), "max", (0,))[0], TZCYX[0, 0, 0])


def test_rgb_and_float_planes_are_projected(tmp_path: Path) -> None:
    path, colour = str(tmp_path / "a.ome.tif"), noise(4, 20, 30, 3)
    tifffile.imwrite(path, colour, photometric="rgb", metadata={"axes": "ZYXS"})
    found = Reader(replace(settings(), z="mean"), 64).full(path)
    np.testing.assert_array_equal(found, np.rint(colour.mean(axis=0)).transpose(2, 0, 1))
    values = np.random.default_rng(0).random((4, 20, 30), np.float32)
    tifffile.imwrite(path, values, metadata={"axes": "ZYX"})
    about = replace(settings(), z="mean", range_policy="fixed", range_low=0.0, range_high=1.0, deep=True, grey=True)
    np.testing.assert_allclose(Reader(about, 64).full(path)[0], values.mean(axis=0) * 65535, atol=1)


@pytest.mark.parametrize(
    ("z", "channels", "page", "words"),
    [
        ("4", ("GFP",), 0, r"plane z 4 of a stack with 4 \(counted from 0\)"),
        ("max", (3,), 0, "channel 3 of a stack with 3"),
        ("max", ("GFP",), 2, "page 2 of a stack with 2"),
        ("max", ("RFP",), 0, "no channel 'RFP': it has DAPI, GFP, Cy5"),
    ],
)
def test_missing_planes_raise_a_one_line_error(
    ome: str, z: str, channels: tuple[int | str, ...], page: int, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        _read(ome, z, channels, page)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({"axes": "ZYX"}, {"axes": "ZYX"}, "it holds several stacks"),
        ({"axes": "ZYX"}, {"axes": "CYX"}, "it holds several stacks"),
        (None, None, "its pages differ in size or type, so they are not a stack"),
    ],
)
@pytest.mark.parametrize("ome", [False, True])
def test_images_outside_of_the_stack_are_not_dropped(
    tmp_path: Path, first: dict[str, str] | None, second: dict[str, str] | None, reason: str, *, ome: bool
) -> None:
    planes = noise(4, 20, 30), noise(2, 40, 30)
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=ome and first is not None) as file:
        for pixels, axes in zip(planes, (first, second), strict=True):
            file.write(pixels, photometric="minisblack", metadata=axes)
    for z in ("max", "1"):
        with pytest.raises(DataError, match=f"{reason}: use --page N in place of --z"):
            _read(str(tmp_path / "a.tif"), z, (0,))
    assert np.array_equal(read_native(tmp_path / "a.tif", page=5)[..., 0], planes[1][1])


def test_an_overview_is_not_outside_of_the_stack(tmp_path: Path) -> None:
    planes = noise(4, 20, 30)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(planes, photometric="minisblack", metadata={"axes": "ZYX"})
        file.write(planes[0, ::2, ::2].copy(), photometric="minisblack", subfiletype=1)
    assert np.array_equal(_read(str(tmp_path / "a.tif"), "max", (0,))[0] % 256, planes.max(axis=0))


def test_a_thumbnail_is_not_taken_for_the_stack(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(noise(5, 6), photometric="minisblack", subfiletype=1, metadata=None)
        file.write(noise(20, 30), photometric="minisblack", metadata=None)
    with pytest.raises(DataError, match="use --page N in place of --z"):
        _read(str(tmp_path / "a.tif"), "max", (0,))


def test_a_stack_without_a_directory_is_called_damaged(tmp_path: Path) -> None:
    """As in a file that is cut short, whose directory was at its end."""
    (tmp_path / "a.tif").write_bytes(b"II*\0\0\0\1\0" + bytes(50))
    with pytest.raises(DataError, match="no image directory: the file is truncated or damaged"):
        _read(str(tmp_path / "a.tif"), "max")
    for z in ("", "max"):
        with pytest.raises(DataError, match="no image directory: the file is truncated or damaged"):
            page_count(tmp_path / "a.tif", z=z)


def test_z_is_a_projection_or_a_plane() -> None:
    assert [parse_z(text) for text in ("", "max", "mean", "12")] == ["", "max", "mean", "12"]
    for text in ("min", "-1", "1.5", "²"):
        with pytest.raises(UsageError, match="write max, mean"):
            parse_z(text)
