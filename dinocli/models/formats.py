"""Read checkpoint files of many formats, without executing code in them, as one flat dictionary of tensors.

Official DINO, DINOv2 and DINOv3 files, full training checkpoints, timm and Lightning wrappers, safetensors.
"""

import argparse
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dinocli.errors import WeightsError
from dinocli.models.transformers_names import are_transformers, official_names

# Where the weights lie in a checkpoint that holds more; averaged ones first, because they are the better ones.
CONTAINERS = ("teacher", "state_dict_ema", "model_ema", "ema", "state_dict", "model", "student")

_MOST_CONTAINERS = 8
"""Containers inside each other; two are known."""

# What wrappers put before the names, in order of preference where one file holds several networks.
PREFIXES = (
    "teacher.",
    "momentum_backbone.",
    "teacher_backbone.",
    "backbone.",
    "student.",
    "module.",
    "_orig_mod.",
    "model.",
    "encoder.",
)

# DINOv2 stores blocks in chunks: `blocks.CHUNK.INDEX.`. An EfficientNet also has two numbers, but other names follow.
CHUNK = re.compile(r"^blocks\.\d+\.(?=\d+\.(norm[12]|attn\.(qkv|proj)|mlp|ls[12])\.)")


class _Inert:
    """Stands in for numpy's numbers in a checkpoint: takes whatever the file says and does nothing.

    DINO's own training writes numpy learning rates into the optimizer's state, so that every full checkpoint of it
    needs numpy's constructors. We need none of those values, hence run none of those constructors.
    """

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


_INERT = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtypes.Float64DType")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint under the names that the file gives them.

    A pickle can run any program when it is opened. It is therefore read by torch's restricted unpickler, always, with
    one harmless addition (`argparse.Namespace`, which DINO stores its arguments in); a file that asks for more is
    refused, never trusted.

    Args:
        path: ``.safetensors``, or anything that `torch.save` wrote.

    Raises:
        WeightsError: The file cannot be read so, holds no tensors, or those of an architecture of the transformers
            library that is not known here.
    """
    tensors = load_safetensors(path) if path.suffix == ".safetensors" else _only_tensors(_load_pickle(path))
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors: give a file with a state dict")
    if not are_transformers(tensors):
        return tensors
    try:
        return official_names(tensors)
    except WeightsError as error:
        raise WeightsError(f"{path}: weights of the transformers library: {error}") from error


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; a damaged one is a `WeightsError`."""
    try:
        return load_file(path)
    except Exception as error:  # the library's own error class is not part of its public names
        raise WeightsError(f"{path}: not a readable safetensors file ({error}): fetch or save it again") from error


def _load_pickle(path: Path) -> Any:
    allowed: list[Any] = [argparse.Namespace, *((_Inert, name) for name in _INERT)]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}): check the path") from error
    except Exception as error:  # garbage makes torch raise nearly anything
        reason = "holds Python objects, which are never run" if "GLOBAL" in str(error) else "not a checkpoint"
        raise WeightsError(f"{path}: {reason}: save `model.state_dict()` alone, best as .safetensors") from error


def _only_tensors(data: Any) -> dict[str, Tensor]:
    for _ in range(_MOST_CONTAINERS):  # a pickle can hold itself
        if not isinstance(data, Mapping):
            break
        inner = next((data[key] for key in CONTAINERS if isinstance(data.get(key), Mapping)), None)
        if inner is None:
            return {str(key): value for key, value in data.items() if isinstance(value, Tensor)}
        data = inner
    return {}


def unwrap(tensors: Mapping[str, Tensor], names: Collection[str] = ()) -> dict[str, Tensor]:
    """Strip what wrappers put before the names, and leave out the other networks of the file.

    Args:
        tensors: As `read_tensors` gives them.
        names: The names wanted. Stripping stops once half of them are there; without any, when nothing is left to
            strip.
    """
    found = dict(tensors)
    while not names or len(found.keys() & set(names)) < 0.5 * len(names):
        prefix = next((prefix for prefix in PREFIXES if any(key.startswith(prefix) for key in found)), None)
        if prefix is None:
            break
        found = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    return {CHUNK.sub("blocks.", key): value for key, value in found.items()}


def position_grid(position_1ND: Tensor) -> tuple[int, int]:
    """Return (prefix positions, side of the square grid) of a learnt position embedding."""
    count = position_1ND.shape[1]
    side = math.isqrt(count)
    return count - side * side, side
