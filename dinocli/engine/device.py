"""Choice of device, precision and attention kernels."""

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
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt, from malloc.h
MIN_SPEEDUP = 1.1
"""Factor by which an alternative must be faster to be chosen: otherwise noise would decide, and float32 is safer."""

TRIAL_SECONDS = 1.0
"""Total time of a candidate's trials after which no further one starts: a large ViT on a CPU takes seconds for one."""


def pick_device(device_or_name: str | torch.device, local_rank: int = 0) -> torch.device:
    """Return the device of `auto`, `cpu`, `cuda` or `cuda:1`, or of a device of torch.

    Raises:
        UsageError: The GPU does not exist, or the kind of device is not supported.
    """
    name = str(device_or_name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not DEVICE.fullmatch(name):
        raise UsageError(f"--device {name}: choose auto, cpu, cuda or cuda:NUMBER")
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
    """Make glibc keep freed memory for later tensors, for the rest of this process.

    By default large tensors are allocated from the system and returned to it, and the kernel clears every page anew: a
    fifth of a convnet's step. No effect with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


@dataclass(frozen=True)
class Precision:
    """Precision of the networks; losses and centres are always float32.

    Args:
        device: Device of the networks.
        name: fp32, bf16 or fp16.
        attention: `fused` leaves the choice of the kernel to torch; `math` uses plain matrix products, faster on some
            CPUs.
        own_kernels: Use `Kernels` where they are faster; not possible with gradient checkpointing.
    """

    device: torch.device
    name: str
    attention: str
    own_kernels: bool = True

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Return a context with this precision and these kernels."""
        half, plain = self.name in DTYPES, self.attention == "math"
        kernels: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if self.own_kernels and (plain or (half and self.device.type == "cpu")):
            kernels = Kernels(plain_attention=plain, depthwise_float32=self.device.type == "cpu")
        with kernels, torch.autocast(self.device.type, dtype=DTYPES.get(self.name), enabled=half):
            yield

    def scaler(self) -> torch.amp.GradScaler | None:
        """Return a gradient scaler for fp16, else None; the default scale of 2**16 overflows in the first steps."""
        return torch.amp.GradScaler(self.device.type, init_scale=2.0**12) if self.name == "fp16" else None


def feature_precision(device: torch.device, precision: str) -> str:
    """Choose the precision of feature extraction: half precision where the hardware supports it, without timing.

    The result of a timing trial could differ between machines or calls, and parts of one file would be inconsistent.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu.get_capabilities().get("amx_bf16") else "fp32"


def candidates(device: torch.device, precision: str, attention: str, is_vit: bool) -> list[Precision]:
    """Return the candidates to time, the safest first. A GPU has one: bf16 if supported, else fp16."""
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
    """Return whether the CPU has bfloat16 instructions; without them bfloat16 is slow."""
    return any(present for name, present in torch.cpu.get_capabilities().items() if "bf16" in name)


def fastest(choices: list[Precision], trial: Callable[[Precision], None]) -> Precision:
    """Time each candidate up to three times and return the first that no other beats by more than 10 %.

    Args:
        choices: Candidates from `candidates`.
        trial: Runs a small forward and backward pass in a precision.
    """
    if len(choices) == 1:
        return choices[0]
    seconds = [_best_of(3, lambda choice=choice: trial(choice)) for choice in choices]  # type: ignore[misc]
    best = 0
    for number, seconds_of in enumerate(seconds):
        if seconds_of * MIN_SPEEDUP < seconds[best]:
            best = number
    return choices[best]


def _best_of(times: int, work: Callable[[], None]) -> float:
    """Return the shortest time of some work after a warm-up run; work that takes seconds is timed once."""
    work()
    seconds: list[float] = []
    while len(seconds) < times and sum(seconds) < TRIAL_SECONDS:
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
