"""NumPy arrays as images."""

from pathlib import Path

import numpy as np
import pytest

from dinocli.data.decode import image_size, page_count, read_native
from dinocli.data.read import Reader
from dinocli.data.sources import find_images
from dinocli.errors import DataError
from tests.data.files import noise, settings


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "bool"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_array_values_and_dtype_are_preserved(tmp_path: Path, dtype: str, suffix: str, channels: int) -> None:
    pixels = noise(7, 5, max(1, channels), dtype="uint16").astype(dtype)
    pixels = pixels if channels else pixels[..., 0]
    path = tmp_path / f"a{suffix}"
    (np.save if suffix == ".npy" else np.savez_compressed)(path, pixels)
    found = read_native(path)
    assert np.array_equal(found.squeeze(), pixels.squeeze() * (255 if dtype == "bool" else 1))
    assert found.dtype == ("uint8" if dtype == "bool" else dtype)
    assert image_size(path) == (7, 5)
    assert page_count(path) == (1, 0)


def test_many_channels_need_a_selection_and_alpha_is_composited_over_white(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(7, 5, 6))
    with pytest.raises(DataError, match=r"6 channels: say which to read, .* --channels 0,1,2,3,4,5"):
        read_native(tmp_path / "a.npy")
    assert np.array_equal(read_native(tmp_path / "a.npy", channels=(5, 0, 2)), noise(7, 5, 6)[..., [5, 0, 2]])
    pixels = noise(7, 5, 4)
    pixels[..., 3] = 0
    np.save(tmp_path / "b.npy", pixels)
    assert (read_native(tmp_path / "b.npy") == 255).all()


def test_arrays_of_other_shapes_and_dtypes_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(5))
    np.save(tmp_path / "b.npy", np.zeros((2, 3, 4, 5)))
    np.save(tmp_path / "c.npy", np.array([[1j]]))
    np.save(tmp_path / "d.npy", np.array([[{}]]), allow_pickle=True)
    np.savez(tmp_path / "e.npz", a=np.zeros((3, 3)), b=np.zeros((3, 3)))
    (tmp_path / "f.npy").write_bytes(b"\x93NUMPY\x01\0")
    for name in ("a.npy", "b.npy", "c.npy", "d.npy", "e.npz", "f.npy"):
        with pytest.raises(DataError) as caught:
            read_native(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_folder_listing_includes_arrays_but_not_feature_files(tmp_path: Path) -> None:
    for name in ("a.npy", "feats.npy", "b.npz"):
        (np.savez if name.endswith("z") else np.save)(tmp_path / name, noise(7, 5, 1))
    (tmp_path / "feats.paths.txt").write_text("./a.png\n")
    images = find_images([str(tmp_path)])
    assert images.names == ["./a.npy", "./b.npz"]
    assert any("1 .npy" in note for note in images.notes)


@pytest.mark.parametrize("channels", [1, 3, 4, 12])
def test_channels_first_arrays_are_recognised_by_shape(tmp_path: Path, channels: int) -> None:
    """PyTorch and rasterio save (c, h, w); read as (h, w, c), it would be an image of three rows."""
    pixels = noise(channels, 20, 30).astype(">u2")
    np.save(tmp_path / "a.npy", pixels)
    assert image_size(tmp_path / "a.npy") == (20, 30)
    found = read_native(tmp_path / "a.npy", channels=(channels - 1,))
    assert found.dtype == np.uint16
    assert np.array_equal(found[..., 0], pixels[-1])


def test_array_in_memory_gives_the_canvas_of_its_file(tmp_path: Path) -> None:
    for shape in ((3, 20, 30), (20, 30, 3), (1, 20, 30)):
        np.save(tmp_path / "a.npy", noise(*shape))
        reader = Reader(settings(), 64)
        assert np.array_equal(reader.in_memory(noise(*shape)), reader.whole(str(tmp_path / "a.npy")))


def test_channels_last_arrays_of_unusual_shape_keep_their_axes(tmp_path: Path) -> None:
    for shape in ((9, 9, 200), (20, 30, 12), (3, 2, 40), (2, 40, 3)):
        np.save(tmp_path / "a.npy", noise(*shape))
        assert image_size(tmp_path / "a.npy") == shape[:2]
