"""TIFF palettes (ColorMap) of 16 bits, and of 8 bits as some software writes them."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dinocli.data.decode import read_native
from dinocli.data.mask_reader import read_mask
from tests.data.files import Array, noise
from tests.data.hostile import tiff

_HEIGHT, _WIDTH = 32, 48


def _write(path: Path, index: Array, bits: int, colours: Array) -> Path:
    """Write indices of 4, 8 or 16 bits with a palette (3, 2 ** bits)."""
    if bits > 4:
        tifffile.imwrite(path, index.astype(f"u{bits // 8}"), photometric="palette", colormap=colours.astype(np.uint16))
        return path
    data = (index[:, ::2] << 4 | index[:, 1::2]).astype(np.uint8).tobytes()
    start = 8 + 2 + 12 * 10 + 4
    place = [(273, 4, 1, start), (277, 3, 1, 1), (278, 4, 1, _HEIGHT), (279, 4, 1, len(data))]
    layout = [(256, 4, 1, _WIDTH), (257, 4, 1, _HEIGHT), (258, 3, 1, 4), (259, 3, 1, 1), (262, 3, 1, 3)]
    content = tiff(*layout, *place, (320, 3, 48, start + len(data)))
    path.write_bytes(content + data + colours.astype("<u2").tobytes())
    return path


@pytest.mark.parametrize("scale", [1, 256, 257])
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_palette_of_8_or_16_bits_becomes_rgb(tmp_path: Path, bits: int, scale: int) -> None:
    colours, index = noise(3, 1 << bits), noise(_HEIGHT, _WIDTH, dtype="uint16", top=(1 << bits) - 1, seed=1)
    stored = colours.astype(np.uint16) * scale
    path = _write(tmp_path / "a.tif", index, bits, stored)
    expected = (colours.astype(np.uint16) * (257 if scale == 1 else scale) if bits == 16 else colours).T[index]
    read = read_native(path)
    assert read.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert np.array_equal(read, expected)
    assert np.array_equal(read_native(path, channels=(2,)), expected[..., 2:])
    if bits == 8:
        assert np.array_equal(read_native(f"{path}/y000004_x000008_20x10.tif"), expected[4:14, 8:28])


def test_black_of_an_8_bit_palette_is_the_background_of_a_mask(tmp_path: Path) -> None:
    colours = noise(3, 256)
    colours[:, 0], colours[:, 7] = 9, 0
    index = noise(_HEIGHT, _WIDTH, dtype="uint16", top=20)
    labels = read_mask(_write(tmp_path / "a.tif", index, 8, colours)).labels_HW
    assert np.array_equal(labels == 0, index == 7)
    assert np.array_equal(labels[index > 7], index[index > 7])
