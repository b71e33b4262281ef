"""GeoTIFF: masks keep the tags, tiles get their corners; values by hand."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dinocli.data.georeference import georeference_of
from dinocli.data.mask_images import label_geotiff

SCALE, TIEPOINT, MATRIX, KEYS = 33550, 33922, 34264, 34735
UTM33 = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)


def geotiff(path: Path, tags: Mapping[int, tuple[float, ...]], **more: Any) -> str:
    extra = [(code, "H" if code == KEYS else "d", len(value), value, True) for code, value in tags.items()]
    tifffile.imwrite(path, np.zeros((40, 60), np.uint8), extratags=[*extra, *more.pop("extratags", ())], **more)
    return str(path)


def test_corners_of_a_tile_by_scale_and_tie_point(tmp_path: Path) -> None:
    tags = {SCALE: (10.0, 10.0, 0.0), TIEPOINT: (0.0, 0.0, 0.0, 500_000.0, 4_600_000.0, 0.0), KEYS: UTM33}
    place = georeference_of(geotiff(tmp_path / "a.tif", tags))
    assert place is not None
    assert place.crs == "EPSG:32633"
    assert place.transform == (500_000, 10, 0, 4_600_000, 0, -10)
    assert place.corners((20, 10, 16, 8)) == (500_200, 4_599_900, 500_360, 4_599_820)


def test_a_tie_point_in_the_middle_of_a_pixel_and_a_rotation(tmp_path: Path) -> None:
    point = (*UTM33[:11], 2, *UTM33[12:])
    tags = {SCALE: (10.0, 10.0, 0.0), TIEPOINT: (2.0, 1.0, 0.0, 500_000.0, 4_600_000.0, 0.0), KEYS: point}
    place = georeference_of(geotiff(tmp_path / "a.tif", tags))
    assert place is not None
    assert place.transform == (499_975, 10, 0, 4_600_015, 0, -10)
    matrix = (0.0, 2.0, 0.0, 7.0, 3.0, 0.0, 0.0, 9.0, *[0.0] * 4, 0.0, 0.0, 0.0, 1.0)
    turned = georeference_of(geotiff(tmp_path / "b.tif", {MATRIX: matrix, KEYS: (*UTM33[:-1], 32767)}))
    assert turned is not None
    assert (turned.transform, turned.crs) == ((7, 0, 2, 9, 3, 0), "")
    assert turned.corners((1, 2, 10, 20)) == (11, 12, 51, 42)


@pytest.mark.parametrize("label", [3, 300])
def test_a_mask_keeps_all_tags(tmp_path: Path, label: int) -> None:
    tags = {SCALE: (0.5, 0.5, 0.0), TIEPOINT: (0.0, 0.0, 0.0, 9.0, 50.0, 0.0), KEYS: UTM33}
    citation = (34737, "s", 0, "WGS 84 / UTM zone 33N|", True)
    place = georeference_of(geotiff(tmp_path / "a.tif", tags, extratags=[citation]))
    assert place is not None
    labels = np.zeros((40, 60), np.uint16)
    labels[5:10] = label
    with tifffile.TiffFile(io.BytesIO(label_geotiff(labels, place))) as file:
        page = file.pages.first
        assert np.array_equal(page.asarray(), labels)
        assert {code: page.tags[code].value for code in tags} == tags
        assert page.tags[34737].value == citation[3]


def test_other_files_have_no_place(tmp_path: Path) -> None:
    keys = {KEYS: UTM33}
    turned = geotiff(tmp_path / "turned.tif", keys, extratags=[(274, "H", 1, 6, True)])
    assert georeference_of(turned) is None
    assert georeference_of(geotiff(tmp_path / "plain.tif", {})) is None
    (tmp_path / "broken.tif").write_bytes(b"II*\0no")
    assert georeference_of(str(tmp_path / "broken.tif")) is None
    assert georeference_of(str(tmp_path / "missing.tif")) is None
    points = georeference_of(geotiff(tmp_path / "points.tif", keys))
    assert points is not None
    assert (points.transform, points.corners((0, 0, 1, 1))) == (None, None)
