"""Stores in memory, on disk and streaming: equal content, cache files, limits, clean-up."""

import csv
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinocli.data import cache, packfile
from dinocli.data.bad_images import UnreadableImage, write_bad
from dinocli.data.cache import Decoder, cache_folder, open_store
from dinocli.data.canvas import Canvas
from dinocli.data.image_list import ImageList
from dinocli.data.read import Reader
from dinocli.data.sources import find_images
from dinocli.data.store import Index, Packed, Store
from dinocli.errors import DataError, UsageError
from dinocli.files import atomic_file
from tests.data.files import noise, save, settings


@pytest.fixture
def images(tmp_path: Path) -> ImageList:
    """Nine images of several sizes, including a strip and an empty file."""
    for i in range(8):
        save(tmp_path / "in" / f"{i}.png", noise(30 + 5 * i, 40, 3, seed=i))
    save(tmp_path / "in" / "strip.png", noise(20, 200, 3))
    (tmp_path / "in" / "5b.png").write_bytes(b"")
    return find_images([str(tmp_path / "in")])


def open_images(images: ImageList, **changed: Any) -> Store:
    folder = images.root.parent / "cache"
    reader = changed.pop("reader", Reader(settings(), 32))
    decoding = {"workers": 2, "max_bad": "10%", "progress": None}
    decoder = Decoder(images, reader, **{key: changed.pop(key, value) for key, value in decoding.items()})
    return open_store(decoder, folder=folder, **{"cache": "auto", "shared": False, **changed})


KINDS = [("memory", {}), ("disk", {"shared": True}), ("stream", {"cache": "off"})]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize(("kind", "asked"), KINDS)
def test_all_stores_hold_the_canvases_of_the_reader(
    images: ImageList, kind: str, asked: dict[str, Any], workers: int, *, grey: bool, deep: bool
) -> None:
    reader = Reader(settings(grey=grey, deep=deep), 32)
    store = open_images(images, reader=reader, workers=workers, **asked)
    assert store.kind == kind
    assert store.names == [name for name in images.names if name != "./5b.png"]
    assert store.bad == [("./5b.png", "the file is empty")]
    total = 0
    for i, name in enumerate(store.names):
        expected = reader.canvases(str(images.root / name))
        assert store.windows(i) == len(expected)
        for window, canvas in enumerate(expected):
            held = store.canvas(i, window)
            assert held.dtype == store.dtype
            assert np.array_equal(held, canvas)
            total += held.nbytes
    assert store.windows(8) > 1
    assert store.nbytes == (0 if kind == "stream" else total)


@pytest.mark.parametrize("shared", [False, True])
def test_packed_canvases_are_read_only(images: ImageList, shared: bool) -> None:
    with pytest.raises(ValueError, match="read-only"):
        open_images(images, shared=shared).canvas(0, 0)[:] = 0


def _files(images: ImageList) -> list[str]:
    return sorted(path.name for path in (images.root.parent / "cache").iterdir())


def test_cache_file_is_reused_until_the_data_change(images: ImageList, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_images(images, shared=True)
    (name,) = _files(images)
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "canvases", None)  # nothing is decoded
        again = open_images(images)
        other_model = Reader(settings(mean=(0.1, 0.2, 0.3), size=64), 32)
        assert open_images(images, reader=other_model).kind == "disk"
    assert (again.kind, again.names, again.bad) == ("disk", first.names, first.bad)
    changes: list[dict[str, Any]] = [
        {"grey": True},
        {"deep": True},
        {"range_policy": "fixed"},
        {"range_low": 1.0},
        {"range_high": 9.0},
        {"channels": (0, 1, 2)},
        {"nodata": (7.0,)},
        {"alpha": "ignore"},
    ]
    for change in changes:
        assert open_images(images, reader=Reader(settings(**change), 32)).kind == "memory", change
    assert open_images(images, reader=Reader(settings(), 33)).kind == "memory"
    os.utime(images.path(0), ns=(1, 1))
    assert open_images(images).kind == "memory"
    assert _files(images) == [name]


def test_damaged_cache_file_is_replaced(images: ImageList) -> None:
    open_images(images, shared=True)
    file = images.root.parent / "cache" / _files(images)[0]
    file.write_bytes(file.read_bytes()[:-1])
    store = open_images(images, shared=True)
    assert np.array_equal(store.canvas(0, 0), Reader(settings(), 32).canvases(images.path(0))[0])


def _flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("back", [1, 9, 17, 25, 200, 900])
def test_flipped_bit_in_the_index_is_detected_and_the_file_replaced(images: ImageList, back: int) -> None:
    open_images(images, shared=True)
    (name,) = _files(images)
    file = images.root.parent / "cache" / name
    sound = file.read_bytes()
    _flip(file, len(sound) - back)
    store = open_images(images, shared=True)
    assert np.array_equal(store.canvas(0, 0), Reader(settings(), 32).canvases(images.path(0))[0])
    assert len(file.read_bytes()) == len(sound)


def test_canvas_with_a_flipped_bit_is_decoded_again(images: ImageList) -> None:
    open_images(images, shared=True)
    (name,) = _files(images)
    file = images.root.parent / "cache" / name
    for place in (0, 5001):
        _flip(file, place)
    store = open_images(images)
    assert store.kind == "disk"
    expected = [canvas for i in range(9) for canvas in Reader(settings(), 32).canvases(_path(images, store.names[i]))]
    found = [store.canvas(i, window) for i in range(9) for window in range(store.windows(i))]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(not canvas.flags.writeable for canvas in found)
    assert _files(images) == []
    assert isinstance(store, Packed)
    assert np.array_equal(store.flat(), np.concatenate([canvas.reshape(-1) for canvas in expected]))


def _path(images: ImageList, name: str) -> str:
    return images.path(images.names.index(name))


def test_flat_verifies_all_canvases(images: ImageList) -> None:
    open_images(images, shared=True)
    (name,) = _files(images)
    _flip(images.root.parent / "cache" / name, 5001)
    store = open_images(images)
    assert isinstance(store, Packed)
    whole = store.flat()
    start, height, width = store.place(1, 0)
    expected = Reader(settings(), 32).canvases(_path(images, store.names[1]))[0]
    assert np.array_equal(whole[start : start + 3 * height * width], expected.reshape(-1))


def test_damaged_canvas_of_a_missing_image_raises(images: ImageList) -> None:
    open_images(images, shared=True)
    (name,) = _files(images)
    _flip(images.root.parent / "cache" / name, 0)
    store = open_images(images)
    Path(images.path(0)).unlink()
    with pytest.raises(DataError, match=r"\./0\.png: its decoded copy is damaged, and now no such file"):
        store.canvas(0, 0)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 4001])
def test_checksum_changes_with_every_bit(size: int) -> None:
    canvas = noise(1, size, 1)
    sound = packfile.checksum(canvas)
    for place in (0, size // 2, size - 1):
        for bit in range(8):
            changed = canvas.copy()
            changed[0, place, 0] ^= 1 << bit
            assert packfile.checksum(changed) != sound


def test_newest_cache_files_are_kept_and_abandoned_ones_deleted(images: ImageList) -> None:
    open_images(images, shared=True)
    folder = images.root.parent / "cache"
    for age, name in enumerate(["a.canvases", "b.canvases", "c.canvases", "d.canvases", "mine.txt"]):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - 100_000 * (age + 1),) * 2)
    (folder / ".e.canvases.0123abcd.dinocli").write_bytes(b"x")  # as a killed process leaves it
    with atomic_file(folder / "f.canvases"):
        packfile.remove_old(folder)
        assert len([name for name in _files(images) if name.startswith(".f.canvases.")]) == 1  # is being written
    newest = next(name for name in _files(images) if len(name) > 20)
    expected = [newest, "a.canvases", "b.canvases", "c.canvases", "f.canvases", "mine.txt"]
    assert _files(images) == sorted(expected)


def test_processes_of_equal_id_write_the_same_file(images: ImageList, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, fill = images.root.parent / "cache", cache.Decoder.fill
    during: list[list[str]] = []

    def twice(decoder: Decoder, add: Callable[[Canvas], int]) -> tuple[Index, list[tuple[int, str]]]:
        """While one container decodes, another one with the same process id decodes and finishes."""
        if not during:
            during.append(sorted(path.name for path in folder.iterdir()))
            assert open_images(images, shared=True).kind == "disk"
        return fill(decoder, add)

    monkeypatch.setattr(cache.Decoder, "fill", twice)
    store = open_images(images, shared=True)
    assert (store.kind, len(store), len(_files(images))) == ("disk", 9, 1)
    assert len(during[0]) == 1


def test_failed_decoding_leaves_no_file(images: ImageList) -> None:
    with pytest.raises(DataError):
        open_images(images, shared=True, max_bad="0")
    assert _files(images) == []


def test_memory_and_disk_budgets_select_the_store(images: ImageList, monkeypatch: pytest.MonkeyPatch) -> None:
    need = open_images(images).nbytes
    assert open_images(images, cache="1G").kind == "memory"
    assert open_images(images, cache="1K").kind == "stream"
    monkeypatch.setattr(cache, "memory_budget", lambda: need // 2)
    assert open_images(images, cache=str(2 * need)).kind == "disk"


def test_too_small_size_estimate_falls_back_to_streaming(images: ImageList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.Decoder, "estimated_bytes", lambda _: 0)
    for shared in (False, True):
        store = open_images(images, cache="1K", shared=shared)
        assert store.kind == "stream"
        assert len(store) == 9
    assert _files(images) == []


def test_unwritable_cache_folder_falls_back_to_streaming(images: ImageList) -> None:
    (images.root.parent / "cache").write_bytes(b"a file, not a folder")
    assert open_images(images, cache="auto").kind == "memory"
    assert open_images(images, shared=True).kind == "stream"


@pytest.mark.parametrize("asked", [{}, {"shared": True}, {"cache": "off"}])
def test_more_unreadable_images_than_the_limit_raise(images: ImageList, asked: dict[str, Any]) -> None:
    with pytest.raises(
        DataError, match=r"least 1 of 10 images cannot be read, --max-bad 5% allows 0 \(\./5b\.png: the file is"
    ):
        open_images(images, max_bad="5%", **asked)
    assert len(open_images(images, max_bad="1", **asked)) == 9


@pytest.mark.parametrize("asked", [{}, {"cache": "off"}])
def test_no_readable_image_raises_at_any_limit(tmp_path: Path, asked: dict[str, Any]) -> None:
    for i in range(5):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{i}.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"none of 5 images can be read \(\./0.png: .*; \./1.png: .*; \./2.png: [^;]*\);"
    ):
        open_images(find_images([str(tmp_path / "in")]), max_bad="100%", **asked)


def test_streaming_reports_images_that_break_later(images: ImageList) -> None:
    store = open_images(images, cache="off", max_bad="2")
    for i in (0, 0, 1):
        content = Path(images.path(i)).read_bytes()
        Path(images.path(i)).write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImage, match=r"\./0\.png"):
        store.canvas(0, 0)
    with pytest.raises(UnreadableImage):
        store.canvas(0, 0)
    assert [name for name, _ in store.bad] == ["./5b.png", "./0.png"]
    with pytest.raises(DataError, match="3 of 10 images") as caught:
        store.canvas(1, 0)
    assert not isinstance(caught.value, UnreadableImage)


@pytest.mark.parametrize(("option", "value"), [("cache", "8X"), ("cache", ""), ("max_bad", "101%"), ("max_bad", "few")])
def test_invalid_cache_and_max_bad_are_refused(images: ImageList, option: str, value: str) -> None:
    with pytest.raises(UsageError, match=rf"--{option.replace('_', '-')} '{value}' is not known; use"):
        open_images(images, **{option: value})


@pytest.mark.parametrize(("kind", "asked"), KINDS)
def test_progress_counts_every_image_and_no_thread_remains(images: ImageList, kind: str, asked: dict[str, Any]) -> None:
    seen: list[tuple[int, int]] = []
    before = threading.enumerate()
    open_images(images, progress=lambda done, total: seen.append((done, total)), **asked)
    assert seen == [(i, 10) for i in range(1, 11)], kind
    assert not set(threading.enumerate()) - set(before)


def test_interrupted_decoding_leaves_neither_threads_nor_files(images: ImageList) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = threading.enumerate()
    with pytest.raises(KeyboardInterrupt):
        open_images(images, shared=True, progress=interrupt)
    assert not set(threading.enumerate()) - set(before)
    assert _files(images) == []


def test_write_bad_quotes_csv_cells(tmp_path: Path) -> None:
    rows = [("./a,b.png", 'the "file" is empty'), ("./é.png", "x")]
    write_bad(tmp_path / "feats.bad.csv", rows)
    with open(tmp_path / "feats.bad.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["path", "reason"], *map(list, rows)]
    assert [path.name for path in tmp_path.iterdir()] == ["feats.bad.csv"]


def test_cache_folder_follows_xdg_cache_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dinocli" / "canvases"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "dinocli" / "canvases"
