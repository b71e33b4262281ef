from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.data.canvas import rgb
from dinocli.data.decode import decode
from dinocli.data.pixels import Decoded
from dinocli.data.read import Reader
from dinocli.report import thumbnails
from dinocli.report.thumbnails import BLANK, Thumbnails, webp
from tests.data.files import noise, settings

SIDE = 16


@pytest.fixture
def tiled(tmp_path: Path) -> FeatureFile:
    """Twelve tiles each of a.jpg, of b.jpg, which is unreadable, and of c.png."""
    Image.fromarray(noise(90, 120, 3)).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"no image")
    Image.fromarray(noise(90, 120, 3, seed=1)).save(tmp_path / "c.png")
    boxes = [(left, top, 30, 30) for top in (0, 30, 60) for left in (0, 30, 60, 90)]
    names = [f"./{name}" for name in ("a.jpg", "b.jpg", "c.png") for _ in boxes]
    meta = {"root": str(tmp_path), "preprocess": settings().to_dict()}
    return FeatureFile(tmp_path / "f.npy", np.zeros((len(names), 2), np.float32), names, meta, boxes * 3)


def slow_thumbnail(images: FeatureFile, row: int) -> Image.Image:
    """As before tiles were read together: the image is decoded for each of them."""
    assert images.root
    assert images.boxes
    path = str(images.root / images.names[row])
    picture = Image.fromarray(rgb(Reader(settings(), SIDE).tile(path, images.boxes[row])))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    return picture


def test_an_image_is_decoded_once_for_its_tiles(tiled: FeatureFile, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: Counter[str] = Counter()

    def counted(path: str, **more: Any) -> Decoded:
        decoded[Path(path).name] += 1
        return decode(path, **more)

    monkeypatch.setattr("dinocli.data.read.decode", counted)
    assert len(list(Thumbnails(tiled, SIDE).small(range(len(tiled))))) == 36
    assert decoded == {"a.jpg": 1, "b.jpg": 1, "c.png": 1}
    monkeypatch.setattr(thumbnails, "_TILES", 5)  # a bound on the pictures in memory
    assert len(list(Thumbnails(tiled, SIDE).encoded(range(len(tiled))))) == 36
    assert decoded == {"a.jpg": 4, "b.jpg": 4, "c.png": 4}


@pytest.mark.parametrize("order", [range(36), [25, 3, 2, 14, 13, 35, 0, 0]])
def test_thumbnails_are_equal_to_those_of_single_tiles(tiled: FeatureFile, order: list[int]) -> None:
    small, encoded = list(Thumbnails(tiled, SIDE).small(order)), list(Thumbnails(tiled, SIDE).encoded(order))
    for row, picture, page in zip(order, small, encoded, strict=True):
        if tiled.names[row] == "./b.jpg":
            assert picture is BLANK
        else:
            assert np.array_equal(picture, np.asarray(slow_thumbnail(tiled, row)))
        assert page == webp(picture)
