"""Device, precision, and the fastest attention kernels of this machine."""

import contextlib
import ctypes
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from dinocli.engine.kernels import Kernels
from dinocli.errors import UsageError

DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the numbers of two settings of glibc's mallopt, from malloc.h
WORTH_IT = 1.1
"""A faster choice has to win by this factor; otherwise noise would choose, and float32 is the safer one."""

TRIAL_SECONDS = 1.0
"""Of a candidate's trials, after which none more begins: a large ViT on a CPU takes seconds for one."""


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device.

    Raises:
        UsageError: If a GPU is asked for and torch sees none, or another kind of device: nothing here was tried on one.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not DEVICE.fullmatch(name):
        raise UsageError(f"--device {name}: there is auto, cpu, cuda and cuda:NUMBER")
    device = torch.device(name)
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda":
        count = torch.cuda.device_count()
        index = local_rank if device.index is None else device.index
        if index >= count:
            raise UsageError(f"--device {name}: torch sees {count} GPUs; use --device cpu, or see `dinocli doctor`")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    return device


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next tensor of that size, for the rest of this process.

    By default each large tensor comes from the system and goes back to it, and the system clears every page anew: a
    fifth of a convnet's step. Other C libraries are left alone, and so is glibc where it does not know the setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


@dataclass(frozen=True)
class Precision:
    """Precision of the networks; losses and centres are always float32.

    Args:
        device: Where.
        name: fp32, bf16 or fp16.
        attention: `fused` leaves the choice of the kernel to torch; `math` takes plain matrix products, faster on
            some CPUs.
        own_kernels: Use `Kernels` where they help; off with gradient checkpointing, which cannot have them.
    """

    device: torch.device
    name: str
    attention: str
    own_kernels: bool = True

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute in this precision, with these kernels."""
        half, plain = self.name in DTYPES, self.attention == "math"
        kernels: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if self.own_kernels and (plain or (half and self.device.type == "cpu")):
            kernels = Kernels(plain_attention=plain, depthwise_float32=self.device.type == "cpu")
        with kernels, torch.autocast(self.device.type, dtype=DTYPES.get(self.name), enabled=half):
            yield

    def scaler(self) -> torch.amp.GradScaler | None:
        """Return a gradient scaler where the precision needs one; torch's own 2**16 overflows at first."""
        return torch.amp.GradScaler(self.device.type, init_scale=2.0**12) if self.name == "fp16" else None


def feature_precision(device: torch.device, precision: str) -> str:
    """Choose what features are computed in: half precision where the hardware supports it; nothing is timed.

    A trial could turn out differently on two machines, or twice on one, and parts of one file would disagree.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu.get_capabilities().get("amx_bf16") else "fp32"


def candidates(device: torch.device, precision: str, attention: str, is_vit: bool) -> list[Precision]:
    """List what is worth timing, the safest first. A GPU needs no timing: bf16 where it has it, else fp16."""
    kernels = [attention]
    if attention == "auto":
        kernels = ["fused", "math"] if is_vit and device.type == "cpu" else ["fused"]
    names = [precision]
    if precision == "auto" and device.type == "cuda":
        names = ["bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"]
    elif precision == "auto":
        names = ["fp32", "bf16"] if _cpu_has_bf16() else ["fp32"]
    return [Precision(device, name, kernel) for name in names for kernel in kernels]


def _cpu_has_bf16() -> bool:
    """Say whether the CPU computes in bfloat16. Without it a trial loses, and takes minutes on a busy machine."""
    return any(present for name, present in torch.cpu.get_capabilities().items() if "bf16" in name)


def fastest(choices: list[Precision], trial: Callable[[Precision], None]) -> Precision:
    """Run each candidate up to three times and return the first that none beats by more than 10 %.

    Args:
        choices: Of `candidates`.
        trial: A small forward and backward pass in a precision.
    """
    if len(choices) == 1:
        return choices[0]
    seconds = [_best_of(3, lambda choice=choice: trial(choice)) for choice in choices]  # type: ignore[misc]
    best = 0
    for number, time_of in enumerate(seconds):
        if time_of * WORTH_IT < seconds[best]:
            best = number
    return choices[best]


def _best_of(times: int, work: Callable[[], None]) -> float:
    """Time some work after one run that warms up; work that takes seconds is timed once."""
    work()
    seconds: list[float] = []
    while len(seconds) < times and sum(seconds) < TRIAL_SECONDS:
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
