"""Choice of precision (fp32, bf16, fp16) and attention kernels, by hardware or by a short timing trial."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from dinocli.engine.kernels import Kernels

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
MIN_SPEEDUP = 1.1
"""Factor by which an alternative must be faster to be chosen: otherwise noise would decide, and float32 is safer."""

TRIAL_SECONDS = 1.0
"""Total time of a candidate's trials after which no further one starts: a large ViT on a CPU takes seconds for one."""


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


def feature_precision(device: torch.device, precision: str, stored: str = "") -> str:
    """Choose the precision of feature extraction, without timing: files of several calls have to agree.

    On a CPU it is fp32. Features in bf16 have a cosine of .97 to .99 to those in fp32 (`pooled+rare`), so they would
    differ between CPUs with and without bf16, and from an exported graph.

    Args:
        device: Device of the network.
        precision: Requested precision, or `auto`.
        stored: Precision of the features that these are compared with; empty for none.
    """
    if precision != "auto":
        return precision
    if stored in (*DTYPES, "fp32"):
        return stored
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "fp32"


def graph_note(source: object, stored: str) -> str:
    """Return a warning for the export of features that were not computed in fp32; else empty.

    Args:
        source: Feature file, classifier or detector, for the message.
        stored: Its precision; empty if unknown.
    """
    if stored not in DTYPES:
        return ""
    return (
        f"{source} was computed in {stored} and the graph computes in fp32, so its numbers differ a little: make it "
        "again with --precision fp32"
    )


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
