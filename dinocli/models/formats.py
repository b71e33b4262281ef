"""Read checkpoint files of many formats as one flat dictionary of tensors, without executing code in them.

Formats: official DINO, DINOv2 and DINOv3 files, full training checkpoints, timm and Lightning wrappers, safetensors.
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

from dinocli.errors import WeightsError, one_line
from dinocli.models.transformers_names import are_transformers, official_names

# Keys of the weights in a checkpoint with further content; EMA weights first, because they are better.
CONTAINERS = ("teacher", "state_dict_ema", "model_ema", "ema", "state_dict", "model", "student")

_MAX_NESTED_CONTAINERS = 8
"""Depth of nested containers that are searched; known files have two."""

# Prefixes that wrappers add to tensor names, in order of preference if a file holds several networks.
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
    """Placeholder for numpy scalars in a pickle: accepts any arguments and does nothing.

    DINO's training stores numpy learning rates in the optimizer state, so every full checkpoint of it names numpy's
    constructors. The values are not needed, so the constructors are not run.
    """

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


_INERT = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtypes.Float64DType")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint under the names in the file.

    A pickle can run any code when it is loaded. So it is always read by torch's restricted unpickler, with one harmless
    addition (`argparse.Namespace`, in which DINO stores its arguments); a file that needs more is refused.

    Args:
        path: ``.safetensors``, or a file of `torch.save`.

    Raises:
        WeightsError: The file cannot be read safely, has no tensors, or has those of an unsupported architecture of the
            transformers library.
    """
    tensors = load_safetensors(path) if path.suffix == ".safetensors" else _only_tensors(_load_pickle(path))
    if not tensors:
        raise WeightsError(f"{path}: {_without_state_dict(path)}")
    if not are_transformers(tensors):
        return tensors
    try:
        return official_names(tensors)
    except WeightsError as error:
        raise WeightsError(f"{path}: weights of the transformers library: {error}") from error


def _without_state_dict(path: Path) -> str:
    """Say what a file without a state dict is, and what to give instead."""
    run = path.parent.parent
    if path.parent.name != "checkpoints" or not (run / "run.json").is_file():
        return "holds no tensors: give a file with a state dict"
    folders = [str(given) for given, held in ((run, "backbone"), (run / "adapted", "")) if (given / held).is_dir()]
    give = f"give {' or '.join(folders)}" if folders else f"{run} has no weights yet: continue the run with --resume"
    return f"a checkpoint of a run: {give}"


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; raises `WeightsError` if it is damaged."""
    try:
        return load_file(path)
    except Exception as error:  # the error class of the library is not public
        raise WeightsError(f"{path}: not a readable safetensors file ({error}): fetch or save it again") from error


def _load_pickle(path: Path) -> Any:
    allowed: list[Any] = [argparse.Namespace, *((_Inert, name) for name in _INERT)]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({one_line(error)}): check the path") from error
    except Exception as error:  # on damaged files torch raises nearly any exception
        reason = "holds Python objects, which are never run" if "GLOBAL" in str(error) else "not a checkpoint"
        raise WeightsError(f"{path}: {reason}: save `model.state_dict()` alone, best as .safetensors") from error


def _only_tensors(data: Any) -> dict[str, Tensor]:
    for _ in range(_MAX_NESTED_CONTAINERS):  # a pickle can contain itself
        if not isinstance(data, Mapping):
            break
        inner = next((data[key] for key in CONTAINERS if isinstance(data.get(key), Mapping)), None)
        if inner is None:
            return {str(key): value for key, value in data.items() if isinstance(value, Tensor)}
        data = inner
    return {}


def unwrap(tensors: Mapping[str, Tensor], names: Collection[str] = ()) -> dict[str, Tensor]:
    """Strip the prefixes of wrappers from the names, and leave out the other networks of the file.

    Args:
        tensors: Tensors from `read_tensors`.
        names: Expected names. Stripping stops once half of them are found; if empty, when no prefix is left.
    """
    stripped = dict(tensors)
    while not names or len(stripped.keys() & set(names)) < 0.5 * len(names):
        prefix = next((prefix for prefix in PREFIXES if any(key.startswith(prefix) for key in stripped)), None)
        if prefix is None:
            break
        stripped = {key.removeprefix(prefix): value for key, value in stripped.items() if key.startswith(prefix)}
    return {CHUNK.sub("blocks.", key): value for key, value in stripped.items()}


def position_grid(position_1ND: Tensor) -> tuple[int, int]:
    """Return (number of prefix tokens, side of the square grid) of a learnt position embedding."""
    count = position_1ND.shape[1]
    side = math.isqrt(count)
    return count - side * side, side
