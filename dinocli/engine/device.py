"""Choice of the device, and its memory allocator."""

import ctypes
import re
import sys

import torch

from dinocli.errors import UsageError

DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt, from malloc.h


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

    By default large tensors are allocated from the system and returned to it, and the kernel clears every page again: a
    fifth of a convnet's step. No effect with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
