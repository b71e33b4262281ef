import ctypes
import platform
from multiprocessing.connection import Connection

import pytest
import torch

from dinocli.engine.device import pick_device
from dinocli.engine.precision import Precision, candidates, fastest, feature_precision, graph_note
from dinocli.errors import UsageError
from tests.forks import FORKS

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def names(device: torch.device, precision: str, attention: str, is_vit: bool) -> list[str]:
    return [f"{choice.name} {choice.attention}" for choice in candidates(device, precision, attention, is_vit)]


@pytest.mark.parametrize(
    ("precision", "attention", "is_vit", "expected"),
    [
        ("auto", "auto", True, ["fp32 fused", "fp32 math", "bf16 fused", "bf16 math"]),
        ("auto", "auto", False, ["fp32 fused", "bf16 fused"]),
        ("fp32", "auto", True, ["fp32 fused", "fp32 math"]),
        ("fp16", "math", True, ["fp16 math"]),
        ("bf16", "fused", False, ["bf16 fused"]),
    ],
)
def test_what_is_timed_on_a_cpu_with_bfloat16(
    monkeypatch: pytest.MonkeyPatch, precision: str, attention: str, is_vit: bool, expected: list[str]
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx512_bf16": True})
    assert names(CPU, precision, attention, is_vit) == expected


def test_a_cpu_without_bfloat16_does_not_try_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx512_bf16": False})
    assert names(CPU, "auto", "auto", is_vit=True) == ["fp32 fused", "fp32 math"]
    assert names(CPU, "bf16", "auto", is_vit=False) == ["bf16 fused"]


def test_features_are_float32_on_every_cpu_unless_they_follow_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True, "avx512_bf16": True})
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert [feature_precision(device, "auto") for device in (CPU, CUDA)] == ["fp32", "bf16"]
    assert feature_precision(CPU, "auto", "bf16") == "bf16"
    assert feature_precision(CUDA, "auto", "fp32") == "fp32"
    assert feature_precision(CPU, "fp16", "bf16") == "fp16", "what is asked for counts"
    assert feature_precision(CPU, "auto", "unknown") == "fp32"
    assert graph_note("feats.npy", "fp32") == graph_note("feats.npy", "") == ""
    assert "feats.npy was computed in bf16" in graph_note("feats.npy", "bf16")


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16 fused"), (False, "fp16 fused")])
def test_nothing_is_timed_on_a_gpu(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert names(CUDA, "auto", "auto", is_vit=True) == [expected]


@pytest.mark.parametrize(("seconds", "winner"), [((1.0, 0.95), 0), ((1.0, 0.5), 1), ((0.5, 1.0), 0), ((1.0, 0.92), 0)])
@pytest.mark.parametrize(("pace", "trials"), [(0.1, 4), (10.0, 2)], ids=["quick", "slow"])
def test_a_faster_choice_must_be_a_tenth_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], winner: int, pace: float, trials: int
) -> None:
    clock, choices = [0.0], [Precision(CPU, "fp32", "fused"), Precision(CPU, "bf16", "fused")]
    monkeypatch.setattr("dinocli.engine.precision.time.perf_counter", lambda: clock[0])
    calls: list[Precision] = []

    def trial(choice: Precision) -> None:
        calls.append(choice)
        slow_first = 10.0 if calls.count(choice) == 1 else 0.0
        clock[0] += pace * seconds[choices.index(choice)] + slow_first

    assert fastest(choices, trial) == choices[winner]
    assert all(calls.count(choice) == trials for choice in choices), "the first one warms up"


def test_a_single_choice_is_not_timed() -> None:
    def refuse(_: Precision) -> None:
        raise AssertionError("timed")

    only = Precision(CPU, "fp32", "fused")
    assert fastest([only], refuse) == only


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("attention", ["fused", "math"])
def test_autocast_computes_in_its_precision(name: str, dtype: torch.dtype, attention: str) -> None:
    layer, x = torch.nn.Linear(4, 4), torch.randn(2, 2, 4, 4)
    with Precision(CPU, name, attention).autocast():
        assert layer(x).dtype == dtype
        assert torch.nn.functional.scaled_dot_product_attention(x, x, x).shape == x.shape
    assert layer(x).dtype == torch.float32


def test_only_float16_scales_gradients() -> None:
    assert [Precision(CPU, name, "fused").scaler() is None for name in ("fp32", "bf16", "fp16")] == [True, True, False]
    scaler = Precision(CPU, "fp16", "fused").scaler()
    assert scaler is not None
    assert scaler.get_scale() == 4096


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "mps", "xpu", "meta", "cpu:1", "cuda:-1"])
def test_unknown_devices_are_named(name: str) -> None:
    with pytest.raises(UsageError, match="choose auto, cpu, cuda or cuda:NUMBER"):
        pick_device(name)


def test_error_names_a_missing_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert pick_device("auto") == CPU
    for name in ("cuda", "cuda:3"):
        with pytest.raises(UsageError, match=f"--device {name}: torch sees 0 GPUs; use --device cpu"):
            pick_device(name)


class Info(ctypes.Structure):
    """Return the memory statistics of glibc, bytes."""

    _fields_ = [
        (name, ctypes.c_size_t) for name in ["arena", "ordblks", "smblks", "hblks", "hblkhd", "a", "b", "c", "d", "e"]
    ]


def _mapped_and_kept() -> tuple[bool, bool]:
    """Print whether a large tensor is mapped separately and whether its memory is kept after it is freed."""
    mallinfo, size = ctypes.CDLL(None).mallinfo2, 256 << 20
    mallinfo.restype = Info
    before = mallinfo()
    tensor = torch.ones(size // 4)
    full = mallinfo()
    mapped = full.hblkhd - before.hblkhd >= size
    del tensor
    return mapped, not mapped and mallinfo().arena >= full.arena >= size


def _before_and_after(pipe: Connection) -> None:
    before = _mapped_and_kept()
    pick_device("cpu")
    pipe.send((before, _mapped_and_kept()))


@pytest.mark.skipif(platform.libc_ver() < ("glibc", "2.33"), reason="asks glibc 2.33 or later")
def test_freed_memory_is_kept() -> None:
    """In a separate process, because the setting is permanent."""
    ours, theirs = FORKS.Pipe()
    child = FORKS.Process(target=_before_and_after, args=(theirs,))
    child.start()
    assert ours.recv() == ((True, False), (False, True))
    child.join()
