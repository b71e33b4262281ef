"""Decompression bombs: each is refused at once as one unreadable image, and the other images are read."""

import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import GifImagePlugin, Image

from dinocli.config.preprocess import PAGES
from dinocli.data import limits
from dinocli.data.cache import Decoder, open_store
from dinocli.data.canvas import windows
from dinocli.data.decode import image_size, page_count, read_native
from dinocli.data.limits import Allowance, without_pil_limit
from dinocli.data.read import Reader
from dinocli.data.sources import find_images
from dinocli.errors import DataError
from tests.data.files import noise, save, settings
from tests.data.hostile import bombs, mutants, write_bombs

READABLE = ("circle.tif", "tags.tif")
"""Odd files whose few pixels are there."""


@pytest.mark.parametrize("name", bombs())
def test_decompression_bomb_is_refused_before_allocating(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bombs()[name])
    tracemalloc.start()
    if name in READABLE:
        assert read_native(tmp_path / name).shape == (4, 4, 1)
    else:
        with pytest.raises(DataError, match=r"claims|more than|truncated|0 x 0|scans"):
            read_native(tmp_path / name)
    for look in (image_size, page_count, Reader(settings(), 64).count):
        try:
            look(str(tmp_path / name))
        except DataError:
            continue
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def test_folder_of_bombs_is_read_without_them(tmp_path: Path) -> None:
    paths = write_bombs(tmp_path)
    save(tmp_path / "good.png", noise(40, 50, 3))
    images = find_images([str(tmp_path)])
    for cache in ("auto", "off"):
        decoder = Decoder(images, Reader(settings(), 32), 2, "100%")
        store = open_store(decoder, cache=cache, shared=False, folder=tmp_path / "c")
        readable = sum(store_reads(store, i) for i in range(len(store)))
        assert readable == 1 + len(READABLE)
        assert len(store.bad) == len(paths) - len(READABLE)


def store_reads(store: object, i: int) -> bool:
    try:
        return bool(store.canvas(i, 0).size)  # type: ignore[attr-defined]
    except DataError:
        return False


def test_animation_frames_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("L", (4, 4), value) for value in range(0, 250, 10)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    sought: list[int] = []
    seek = GifImagePlugin.GifImageFile._seek

    def spy(image: GifImagePlugin.GifImageFile, frame: int, update_image: bool = True) -> None:
        sought.append(frame)
        seek(image, frame, update_image)

    monkeypatch.setattr(GifImagePlugin.GifImageFile, "_seek", spy)
    assert read_native(tmp_path / "a.gif").max() == 0
    assert page_count(tmp_path / "a.gif") == (2, 0)
    assert max(sought) == 1


def test_strip_of_too_many_windows_is_refused() -> None:
    with pytest.raises(DataError, match=r"would be 2,666,667 windows; cut it"):
        list(windows(1, 4_000_000))


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_blank_images_of_common_size_are_accepted(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (1000, 1500)).save(tmp_path / f"a.{kind}")
    assert read_native(tmp_path / f"a.{kind}").shape == (1500, 1000, 3)


def test_image_larger_than_free_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_SERIAL_BYTES", 1000)
    monkeypatch.setattr(limits, "free_memory", lambda: 10_000)
    with pytest.raises(DataError, match=r"decoding needs about 0\.0 GB of memory, 0\.0 are free; cut"):
        read_native(save(tmp_path / "a.png", noise(100, 100, 3)))
    monkeypatch.setattr(limits, "free_memory", lambda: 0)  # not known
    assert read_native(tmp_path / "a.png").shape == (100, 100, 3)


def test_running_out_of_memory_makes_one_image_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", noise(9, 9, 3))

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    for where in ("dinocli.data.pil_decode.from_pil", "dinocli.data.read.map_range"):
        with monkeypatch.context() as patch:
            patch.setattr(where, fail)
            with pytest.raises(DataError, match="not enough memory"):
                Reader(settings(), 32).canvases(path)


def test_large_images_are_decoded_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_SERIAL_BYTES", 10)
    at_once, most = [0], [0]

    def work() -> None:
        with Allowance() as allowance:
            allowance.reserve(10, 10, 100, 100)
            allowance.reserve(10, 10, 100, 100)  # of the same file: it waits for no one
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
            threading.Event().wait(0.01)
            at_once[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "gif", "webp", "bmp", "ppm", "deep.tif", "lzw.tif"])
def test_damaged_files_are_decoded_or_raise_data_error(tmp_path: Path, kind: str) -> None:
    """A damaged file gives an image or a `DataError`, never another exception."""
    path = tmp_path / f"a.{kind}"
    if kind == "deep.tif":
        tifffile.imwrite(path, noise(20, 20, 3, dtype="uint16"), photometric="rgb", compression="zlib")
    else:
        Image.fromarray(noise(20, 20, 3)).save(path, **({"compression": "tiff_lzw"} if kind == "lzw.tif" else {}))
    read = 0
    asked: list[dict[str, Any]] = [{}, {"channels": PAGES}, {"channels": (2, "red", 0), "range_policy": "image"}]
    for number, content in enumerate(mutants(path.read_bytes(), 60)):
        path.write_bytes(content)
        try:
            read += Reader(settings(**asked[number % 3]), 16).canvases(str(path))[0].dtype == np.uint8
        except DataError:
            continue
    assert read < 60


def test_the_limit_of_pil_is_lifted_for_reading_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It protects the program that imports dinocli."""
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    assert read_native(tmp_path / "a.png").shape == (9, 9, 1)
    with pytest.raises(DataError):
        read_native(tmp_path / "b.png")
    with without_pil_limit(), without_pil_limit():
        pass
    assert Image.MAX_IMAGE_PIXELS == 30
