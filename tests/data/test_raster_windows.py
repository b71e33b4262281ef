"""Windows of large rasters: their values, places, names and memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dinocli.data import raster_windows
from dinocli.data.decode import image_size, read_native
from dinocli.data.file_copies import same_files
from dinocli.data.georeference import georeference_of
from dinocli.data.raster_windows import split_window, window_paths
from dinocli.data.sources import find_images
from dinocli.errors import DataError
from tests.data.files import Array, noise
from tests.data.test_georeference import KEYS, MATRIX, SCALE, TIEPOINT, UTM33, geotiff

BOXES = ((0, 0, 90, 70), (17, 23, 50, 31), (81, 59, 9, 11), (31, 31, 2, 2))


def window(path: Path, box: tuple[int, int, int, int]) -> str:
    left, top, width, height = box
    return f"{path}/y{top:06}_x{left:06}_{width}x{height}.tif"


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("layout", [{}, {"tile": (32, 48)}, {"rowsperstrip": 7}], ids=["strip", "tiles", "strips"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("uint8", {"photometric": "rgb"}),
        ("uint16", {"photometric": "rgb", "planarconfig": "separate"}),
        ("int16", {"photometric": "minisblack"}),
        ("float32", {"photometric": "minisblack"}),
        ("uint16", {"photometric": "miniswhite"}),
    ],
)
def test_a_window_has_the_values_of_the_whole_image(
    tmp_path: Path, byteorder: Any, layout: dict[str, Any], compression: str | None, dtype: str, kind: dict[str, Any]
) -> None:
    pixels: Array = noise(70, 90, 3).astype(dtype)
    pixels = pixels if kind["photometric"] == "rgb" else pixels[..., 0]
    pixels = np.moveaxis(pixels, -1, 0) if "planarconfig" in kind else pixels
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, byteorder=byteorder, compression=compression, bigtiff=True, **layout, **kind)
    whole = read_native(path)
    for box in BOXES:
        found, (left, top, width, height) = read_native(window(path, box)), box
        assert found.dtype == whole.dtype
        assert np.array_equal(found, whole[top : top + height, left : left + width])
        assert image_size(window(path, box)) == (height, width)
    with pytest.raises(DataError, match="leaves the 90x70 px"):
        read_native(window(path, (60, 0, 40, 10)))


def test_a_window_of_pages_stacks_masks_and_palettes(tmp_path: Path) -> None:
    stack = noise(2, 3, 70, 90, dtype="uint16")
    about = {"axes": "CZYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=about, tile=(32, 32), photometric="minisblack")
    part, box = window(tmp_path / "a.ome.tif", (40, 10, 20, 30)), (slice(10, 40), slice(40, 60))
    assert np.array_equal(read_native(part, channels=("GFP",))[..., 0], stack[1, 0][box])
    assert np.array_equal(read_native(part, page=2)[..., 0], stack[0, 2][box])
    colours = noise(3, 256, dtype="uint16")
    tifffile.imwrite(tmp_path / "b.tif", stack[0, 0].astype(np.uint8), photometric="palette", colormap=colours)
    part = window(tmp_path / "b.tif", (40, 10, 20, 30))
    assert np.array_equal(read_native(part), read_native(tmp_path / "b.tif")[box])


def test_windows_cover_the_raster_once(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(70, 90), tile=(16, 16))
    paths = window_paths(str(path), 32) or []
    assert [name.removeprefix(f"{path}/") for name in paths[:3]] == [
        "y000000_x000000_32x32.tif",
        "y000000_x000032_32x32.tif",
        "y000000_x000064_26x32.tif",
    ]
    covered = np.zeros((70, 90), np.int64)
    for name in paths:
        file, box = split_window(name)
        assert file == str(path)
        assert box is not None
        covered[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] += 1
    assert (covered == 1).all(), "a rest of 6 rows belongs to the last windows"
    assert paths == sorted(paths)
    assert window_paths(str(path), 100) == []
    assert window_paths(str(path)) == []


def test_a_raster_that_cannot_be_cut_is_named(tmp_path: Path) -> None:
    turned = [(274, "H", 1, 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", noise(70, 90), tile=(16, 16), extratags=turned)
    tifffile.imwrite(tmp_path / "small.tif", noise(20, 20))
    images = find_images([str(tmp_path)], window=32)
    assert images.names == ["./a.tif", "./small.tif"]
    (note,) = images.notes
    assert note.startswith("1 file cannot be cut into windows, such as a.tif: read whole, since ")


def test_a_raster_that_is_too_large_is_listed_as_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file of 30,000 x 30,000 pixels: nothing of it is read at once."""
    path, small = tmp_path / "scene.tif", tmp_path / "small.tif"
    tifffile.imwrite(path, shape=(30_000, 30_000), dtype="uint8", photometric="minisblack", rowsperstrip=64)
    tifffile.imwrite(small, noise(20, 20))
    images = find_images([str(tmp_path)])
    assert len(images) == 29 * 29 + 1
    assert images.names[0] == "./scene.tif/y000000_x000000_1024x1024.tif"
    assert images.names[-2:] == ["./scene.tif/y028672_x028672_1328x1328.tif", "./small.tif"]
    assert any("scene.tif is read as 841 windows of 1024 px (--window)" in note for note in images.notes)
    assert not read_native(images.path(840)).any()
    assert same_files(images.paths()) == []
    alone = find_images([images.path(0)])
    assert (alone.names, alone.root) == (["./scene.tif/y000000_x000000_1024x1024.tif"], tmp_path)
    monkeypatch.setattr(raster_windows, "is_windowed", lambda page: False)
    assert len(find_images([str(tmp_path)])) == 2
    with pytest.raises(DataError, match="save it as TIFF with tiles"):
        read_native(path)


def test_windows_keep_their_place_on_the_ground(tmp_path: Path) -> None:
    tags = {SCALE: (10.0, 10.0, 0.0), TIEPOINT: (2.0, 1.0, 0.0, 500_000.0, 4_600_000.0, 0.0), KEYS: UTM33}
    matrix = (0.0, 2.0, 0.0, 7.0, 3.0, 0.0, 0.0, 9.0, *[0.0] * 4, 0.0, 0.0, 0.0, 1.0)
    for path in (geotiff(tmp_path / "a.tif", tags), geotiff(tmp_path / "b.tif", {MATRIX: matrix, KEYS: UTM33})):
        whole, part = georeference_of(path), georeference_of(window(Path(path), (20, 10, 16, 8)))
        assert whole is not None
        assert part is not None
        assert part.crs == whole.crs
        assert part.corners((3, 2, 5, 4)) == whole.corners((23, 12, 5, 4))
