"""Label maps, soft maps and overlays as image files."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.data.canvas import rgb
from dinocli.data.mask_images import (
    label_colour,
    label_overlay,
    label_png,
    map_png,
    overlay_jpeg,
    soft_npy,
    soft_png,
    write_image_file,
)


@pytest.mark.parametrize(("most", "dtype"), [(0, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_label_png_values_are_the_labels(most: int, dtype: type) -> None:
    labels = np.linspace(0, most, 35).round().astype(np.uint16).reshape(5, 7)
    image = Image.open(io.BytesIO(label_png(labels)))
    assert image.mode == ("L" if dtype is np.uint8 else "I;16")
    assert not image.getexif()
    np.testing.assert_array_equal(np.asarray(image), labels)


def test_soft_map_png_keeps_16_bits_and_npy_all() -> None:
    soft = np.random.default_rng(0).random((9, 1), dtype=np.float32)
    png = np.asarray(Image.open(io.BytesIO(soft_png(soft))))
    assert png.dtype == np.uint16
    np.testing.assert_allclose(png / 65535, soft, atol=0.5 / 65535)
    np.testing.assert_array_equal(np.load(io.BytesIO(soft_npy(soft))), soft)


def test_label_colours_are_distinct() -> None:
    colours = np.array([label_colour(label) for label in range(1, 13)])
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=-1) + 999 * np.eye(12, dtype=int)
    assert apart.min() > 40
    assert label_colour(1)[0] == 255
    assert max(label_colour(1)[1:]) < 100


def test_overlay_covers_the_masked_pixels() -> None:
    labels = np.zeros((60, 80), np.uint16)
    labels[20:40, 30:60] = 1
    grey = np.full((1, 60, 80), 128, np.uint8)
    drawn = np.asarray(Image.open(io.BytesIO(overlay_jpeg(grey, labels)))).astype(int)
    assert np.abs(drawn[5, 5] - 128).max() < 4
    assert drawn[30, 45, 0] > 170
    assert label_overlay(labels)[30, 45, 3] < label_overlay(labels)[20, 45, 3] == 255
    assert label_overlay(labels)[5, 5, 3] == 0


def test_16_bit_canvases_are_shown_by_their_high_byte() -> None:
    deep = np.array([[[0, 256, 65535]]], np.uint16)
    assert rgb(deep)[0, :, 0].tolist() == [0, 1, 255]
    assert rgb(np.zeros((3, 4, 5), np.uint8)).shape == (4, 5, 3)


def test_additional_maps_are_grey_or_rgb() -> None:
    for shape, mode in (((4, 5), "L"), ((4, 5, 3), "RGB")):
        assert Image.open(io.BytesIO(map_png(np.zeros(shape, np.float32)))).mode == mode


def test_output_files_keep_the_subfolders_of_their_images(tmp_path: Path) -> None:
    path = write_image_file(tmp_path / "masks", "a/b.c", ".png", b"x")
    assert path == tmp_path / "masks" / "a" / "b.c.png"
    assert path.read_bytes() == b"x"
