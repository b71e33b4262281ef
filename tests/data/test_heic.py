"""HEIC photographs; needs the extra `heic`."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.data.decode import read_native
from dinocli.data.sources import find_images
from dinocli.errors import DataError
from tests.data.files import noise

pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra `heic`")


@pytest.fixture(autouse=True)
def _registered() -> None:
    pillow_heif.register_heif_opener()


def smooth(*bands: int) -> np.ndarray:
    """Return smooth gradients, which lossy compression changes by a few levels only."""
    small = noise(4, 6, *bands)
    return np.asarray(Image.fromarray(small).resize((96, 64), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("bands", "suffix"), [((), ".heic"), ((3,), ".HEIF")])
def test_heic_pixels_equal_those_saved(bands: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    wanted = smooth(*bands)
    Image.fromarray(wanted).save(tmp_path / f"a{suffix}", format="HEIF", quality=95)
    assert find_images([str(tmp_path)]).names == [f"./a{suffix}"]
    found = read_native(str(tmp_path / f"a{suffix}"))
    assert found.shape[:2] == (64, 96)
    assert np.abs(found.squeeze().astype(int) - wanted).mean() < 4


def test_heic_sequence_is_read_by_primary_image_and_pages(tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.full((64, 96), value, np.uint8)) for value in (40, 200))
    path = tmp_path / "burst.heic"
    first.save(path, format="HEIF", save_all=True, append_images=[second])
    assert read_native(str(path)).mean() == pytest.approx(40, abs=3)
    assert read_native(str(path), page=1).mean() == pytest.approx(200, abs=3)
    with pytest.raises(DataError, match="page 2 of a file with 2"):
        read_native(str(path), page=2)


def test_damaged_heic_raises_a_one_line_error(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.fromarray(smooth(3)).save(held, "HEIF")
    for number, content in enumerate((held.getvalue()[:300], held.getvalue()[:-200], b"\0\0\0\x18ftypheic")):
        (tmp_path / f"{number}.heic").write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_native(str(tmp_path / f"{number}.heic"))
        assert "\n" not in str(caught.value)
