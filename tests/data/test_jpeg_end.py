"""JPEG files whose end is zero bytes."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinocli.data.decode import decode_in_memory, read_native
from dinocli.data.mask_reader import read_mask
from dinocli.errors import DataError
from tests.data.files import noise


def _image(seed: int = 0) -> Image.Image:
    return Image.fromarray(noise(200, 300, 3, seed=seed))


def _jpeg(**options: Any) -> bytes:
    """Encode noise, with so many bytes that as many zero bytes fill its place: PIL finds no end of the file."""
    file = io.BytesIO()
    _image().save(file, **{"format": "JPEG", "quality": 98, **options})
    return file.getvalue()


def _zero_filled(content: bytes, kept: float = 0.5) -> bytes:
    count = int(len(content) * kept)
    return content[:count] + bytes(len(content) - count)


_THUMBNAIL = b"Exif\0\0" + _jpeg(quality=20)
"""An image with an end, within the metadata of another."""


_KINDS: tuple[dict[str, Any], ...] = ({}, {"subsampling": 0}, {"exif": _THUMBNAIL}, {"restart_marker_blocks": 8})


@pytest.mark.parametrize("kept", [0.5, 0.9])
@pytest.mark.parametrize("options", _KINDS)
def test_jpeg_whose_rest_is_zero_is_refused(tmp_path: Path, options: dict[str, Any], kept: float) -> None:
    path, reason = tmp_path / "a.jpg", "an interrupted copy"
    path.write_bytes(_zero_filled(_jpeg(**options), kept))
    with pytest.raises(DataError, match=reason):
        read_native(path)
    with pytest.raises(DataError, match=reason):
        read_mask(path)
    with pytest.raises(DataError, match=reason), Image.open(path) as image:
        decode_in_memory(image, channels=(), min_side=9)


@pytest.mark.parametrize(
    "trailer", [bytes(63), bytes(64), bytes(100_000), b"\xff\xd8 a trailer" + bytes(500), b"\xff\xd9" + bytes(500)]
)
@pytest.mark.parametrize("options", [*_KINDS, {"progressive": True}])
def test_data_behind_the_image_is_no_damage(tmp_path: Path, options: dict[str, Any], trailer: bytes) -> None:
    content = _jpeg(**options)
    (tmp_path / "a.jpg").write_bytes(content)
    (tmp_path / "b.jpg").write_bytes(content + trailer)
    assert np.array_equal(read_native(tmp_path / "b.jpg"), read_native(tmp_path / "a.jpg"))


def test_mpo_with_padding_is_read(tmp_path: Path) -> None:
    _image().save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[_image(1)])
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write(bytes(4096))
    assert read_native(tmp_path / "a.jpg").shape == (200, 300, 3)
    assert read_native(tmp_path / "a.jpg", page=1).shape == (200, 300, 3)
