"""Batches: sample order, division over ranks and slices, padding, prefetch thread."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dinocli.data.cache import Decoder, open_store
from dinocli.data.loader import Batch, Loader, sample_order
from dinocli.data.read import Reader
from dinocli.data.resident import Resident, resident_on
from dinocli.data.sources import find_images
from dinocli.data.store import Packed, Store
from dinocli.errors import UsageError
from tests.data.files import noise, save, settings

CPU = torch.device("cpu")


def make_store(root: Path, images: int = 7, strip: bool = False, **asked: Any) -> Store:
    for i in range(images):
        save(root / "in" / f"{i}.png", noise(20 + i, 30 - i, 3, seed=i))
    if strip:
        save(root / "in" / "strip.png", noise(20, 200, 3))
    options: dict[str, Any] = {"cache": "auto", "shared": False, **asked}
    reader = Reader(options.pop("preprocess", settings()), 24)
    workers, max_bad = options.pop("workers", 2), options.pop("max_bad", "50%")
    decoder = Decoder(find_images([str(root / "in")]), reader, workers, max_bad)
    return open_store(decoder, folder=root / "cache", **options)


def make_loader(store: Store, **asked: Any) -> Loader:
    return Loader(store, **{"batch_size": 4, "seed": 3, "device": CPU, **asked})


def rows(step: list[Batch]) -> list[int]:
    return [row for batch in step for row in batch.rows]


def prefetch_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dinocli")]


def test_each_epoch_is_another_permutation() -> None:
    order = [sample_order(50, 1, position) for position in range(150)]
    epochs = [[image for image, epoch in order if epoch == e] for e in range(3)]
    assert [epoch for _, epoch in order] == [0] * 50 + [1] * 50 + [2] * 50
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert [sample_order(50, 2, position)[0] for position in range(50)] != epochs[0]
    assert sample_order(50, 1, 137) == order[137]


def test_batches_are_canvases_padded_with_zeros(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    seen = Counter[int]()
    for step, (batch,) in enumerate(make_loader(store).steps(0, 7)):
        assert batch.pixels_BCHW.dtype == torch.uint8
        assert batch.sizes_B2.dtype == torch.int64
        assert batch.pixels_BCHW.shape == (4, 3, *batch.sizes_B2.max(0).values.tolist())
        for place, (row, (height, width)) in enumerate(zip(batch.rows, batch.sizes_B2.tolist(), strict=True)):
            assert row == sample_order(7, 3, 4 * step + place)[0]
            assert np.array_equal(batch.pixels_BCHW[place, :, :height, :width].numpy(), store.canvas(row, 0))
            assert not batch.pixels_BCHW[place, :, height:].any()
            assert not batch.pixels_BCHW[place, :, :, width:].any()
            seen[row] += 1
    assert seen == Counter(dict.fromkeys(range(7), 4))


def test_deep_canvases_stay_uint16(tmp_path: Path) -> None:
    store = make_store(tmp_path, preprocess=settings(deep=True, grey=True))
    ((batch,),) = make_loader(store).steps(0, 1)
    assert batch.pixels_BCHW.dtype == torch.uint16
    assert batch.pixels_BCHW.shape[1] == 1
    assert batch.pixels_BCHW.numpy().max() > 255


@pytest.mark.parametrize(("world", "slices"), [(1, 1), (1, 3), (2, 1), (2, 3), (6, 2)])
def test_ranks_and_slices_divide_the_same_batch(tmp_path: Path, world: int, slices: int) -> None:
    store = make_store(tmp_path)
    whole = [rows(step) for step in make_loader(store, batch_size=12).steps(2, 5)]
    parts: list[list[int]] = [[], [], []]
    for rank in range(world):
        loader = make_loader(store, batch_size=12, rank=rank, world_size=world, slices=slices)
        for number, step in enumerate(loader.steps(2, 5)):
            assert [len(batch.rows) for batch in step] == [12 // world // slices] * slices
            assert [batch.start for batch in step] == [
                rank * 12 // world + i * (12 // world // slices) for i in range(slices)
            ]
            parts[number] += rows(step)
    assert parts == whole


def test_resumed_loader_gives_the_same_batches(tmp_path: Path) -> None:
    loader = make_loader(make_store(tmp_path))
    straight = list(loader.steps(0, 6))
    for expected, (batch,) in zip(straight[4:], loader.steps(4, 6), strict=True):
        assert batch.rows == expected[0].rows
        assert torch.equal(batch.pixels_BCHW, expected[0].pixels_BCHW)


def test_batch_larger_than_the_dataset_repeats_images(tmp_path: Path) -> None:
    ((batch,),) = make_loader(make_store(tmp_path, images=2), batch_size=8).steps(0, 1)
    assert Counter(batch.rows) == {0: 4, 1: 4}


def test_windows_of_a_strip_are_taken_in_turn(tmp_path: Path) -> None:
    store = make_store(tmp_path, images=0, strip=True)
    count = store.windows(0)
    shown = [batch.pixels_BCHW[0].numpy() for (batch,) in make_loader(store, batch_size=1).steps(0, count + 1)]
    assert count > 2
    assert all(np.array_equal(shown[epoch], store.canvas(0, epoch % count)) for epoch in range(count + 1))


def test_batches_keep_order_and_take_the_middle_window(tmp_path: Path) -> None:
    store = make_store(tmp_path, strip=True)
    batches = list(make_loader(store).batches([7, 2, 5, 0, 1], 2))
    assert [batch.rows for batch in batches] == [[7, 2], [5, 0], [1]]
    assert [batch.start for batch in batches] == [0, 2, 4]
    height, width = batches[0].sizes_B2[0].tolist()
    middle = store.canvas(7, store.windows(7) // 2)
    assert np.array_equal(batches[0].pixels_BCHW[0, :, :height, :width].numpy(), middle)


def test_streaming_gives_the_batches_of_the_packed_store(tmp_path: Path) -> None:
    packed, streamed = make_store(tmp_path, strip=True), make_store(tmp_path, strip=True, cache="off", workers=3)
    assert (packed.kind, streamed.kind) == ("memory", "stream")
    pairs = zip(make_loader(packed).steps(0, 5), make_loader(streamed).steps(0, 5), strict=True)
    assert all(torch.equal(a[0].pixels_BCHW, b[0].pixels_BCHW) for a, b in pairs)


def test_image_that_fails_while_streaming_is_replaced_by_the_next(tmp_path: Path) -> None:
    store = make_store(tmp_path, cache="off")
    path = tmp_path / "in" / "6.png"
    path.write_bytes(path.read_bytes()[:200])
    loader = make_loader(store, batch_size=7)
    ((batch,),) = loader.steps(0, 1)
    assert batch.rows == [0 if row == 6 else row for row in (sample_order(7, 3, place)[0] for place in range(7))]
    assert [batch.rows for batch in loader.batches([6, 1, 6], 1)] == [[1]]
    assert [name for name, _ in store.bad] == ["./6.png"]


def test_error_in_the_thread_is_raised_in_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path)
    steps = make_loader(store).steps(0, 9)
    next(steps)

    def fail(i: int, window: int) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(store, "canvas", fail)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(steps)
    assert not prefetch_threads()


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_prefetch_thread_ends_with_the_iterator(tmp_path: Path, cache: str) -> None:
    loader = make_loader(make_store(tmp_path, cache=cache))
    for taken in (0, 1, 3):
        steps = loader.steps(0, 1000)
        for _ in range(taken):
            next(steps)
        assert bool(prefetch_threads()) == (taken > 0)
        steps.close()
        assert not prefetch_threads()
    assert len(list(loader.steps(0, 3))) == 3
    assert not prefetch_threads()


def test_indivisible_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="a batch of 10 cannot be cut into 2 processes x 2 slices; use a multiple of 4"
    ):
        make_loader(make_store(tmp_path), batch_size=10, world_size=2, slices=2)


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("deep", [False, True])
def test_resident_batches_equal_copied_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, deep: bool
) -> None:
    store = make_store(tmp_path, strip=True, shared=kind == "disk", preprocess=settings(deep=deep))
    assert store.kind == kind
    copied = [batch for step in make_loader(store).steps(0, 5) for batch in step]
    monkeypatch.setattr("dinocli.data.loader.resident_on", lambda device, store: Resident(store, device))
    loader = make_loader(store)
    resident = [batch for step in loader.steps(0, 5) for batch in step]
    assert loader._resident is not None
    assert len(resident) == 5
    for ours, theirs in zip(resident, copied, strict=True):
        assert torch.equal(ours.pixels_BCHW.int(), theirs.pixels_BCHW.int())
        assert torch.equal(ours.sizes_B2, theirs.sizes_B2)
        assert ours.pixels_BCHW.dtype == theirs.pixels_BCHW.dtype


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_resident_collate_pads_and_keeps_values(tmp_path: Path, deep: bool, mixed: bool) -> None:
    store = make_store(tmp_path, strip=mixed, preprocess=settings(deep=deep))
    assert isinstance(store, Packed)
    resident = Resident(store, torch.device("cpu"))
    rows = [3, 0, 3, len(store) - 1]
    batch = resident.collate([resident.canvas(row, 0) for row in rows])
    assert batch.dtype == (torch.uint16 if deep else torch.uint8)
    for row, pixels in zip(rows, batch, strict=True):
        wanted = store.canvas(row, 0)
        assert np.array_equal(pixels[:, : wanted.shape[1], : wanted.shape[2]].numpy(), wanted)
        assert int(pixels.int().sum()) == int(wanted.astype(np.int64).sum()), "zeros around it"


def test_store_is_copied_to_a_gpu_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a simulated GPU; unused blocks of torch's caching allocator count as free."""
    store, device = make_store(tmp_path), torch.device("cuda", 0)
    made: list[torch.device] = []

    class Counted(Resident):
        def __init__(self, store: Packed, device: torch.device) -> None:
            made.append(device)

    monkeypatch.setattr("dinocli.data.resident.Resident", Counted)
    free, kept, used = 0, 4 * store.nbytes, 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 0))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: kept)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: used)
    assert resident_on(torch.device("cpu"), store) is None
    used = 1
    assert resident_on(device, store) is None, "a byte too few"
    used = 0
    first = resident_on(device, store)
    used = kept
    assert first is not None
    assert resident_on(device, store) is first
    assert made == [device]


@pytest.mark.parametrize("deep", [False, True])
def test_batches_for_a_gpu_are_collated_in_page_locked_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: bool
) -> None:
    """With a simulated GPU, whose host memory is used again and not empty."""
    loader = make_loader(make_store(tmp_path))
    loader.device, loader.store.dtype = torch.device("cuda", 0), np.dtype(np.uint16 if deep else np.uint8)
    asked: list[bool] = []

    def used_memory(shape: tuple[int, ...], *, dtype: torch.dtype, pin_memory: bool) -> torch.Tensor:
        asked.append(pin_memory)
        return torch.full(shape, 7).to(dtype)

    monkeypatch.setattr(torch, "empty", used_memory)
    blank = loader._blank((2, 3, 4, 5))
    assert asked == [True]
    assert (blank.dtype, blank.shape) == (torch.uint16 if deep else torch.uint8, (2, 3, 4, 5))
    assert not blank.int().any()
