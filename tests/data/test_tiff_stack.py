"""TIFF stacks along z, by the axes of the file, against tifffile."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dinocli.config.preprocess import parse_z
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


def test_z_is_a_projection_or_a_plane() -> None:
    assert [parse_z(text) for text in ("", "max", "mean", "12")] == ["", "max", "mean", "12"]
    for text in ("min", "-1", "1.5", "²"):
        with pytest.raises(UsageError, match="write max, mean"):
            parse_z(text)
