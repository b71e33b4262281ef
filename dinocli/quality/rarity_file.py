"""Save and load memory banks with further tensors and metadata: one safetensors file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from dinocli.files import with_sorted_metadata, write_atomic
from dinocli.quality.rarity import MemoryBank
from dinocli.stored import reading
from dinocli.stored_arrays import checked_array


def save_banks(
    path: Path,
    banks: Mapping[str, MemoryBank],
    *,
    others: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write memory banks, further tensors and metadata to a safetensors file.

    Args:
        path: Output file.
        banks: Bank of each map, by the name of the map.
        others: Further tensors, such as a whitening; names without a dot.
        metadata: Metadata of the file, such as the weights that the maps come from.
    """
    named = {f"{key}.{name}": tensor for key, bank in banks.items() for name, tensor in bank.tensors().items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in {**named, **(others or {})}.items()}
    write_atomic(path, with_sorted_metadata(save(tensors, metadata=dict(metadata or {}))))


def load_banks(path: Path) -> tuple[dict[str, MemoryBank], dict[str, Tensor], dict[str, str]]:
    """Read a file of `save_banks`: banks, further tensors, metadata.

    Raises:
        WeightsError: The file is missing, damaged or of another kind.
    """
    with reading(path, "embed the folder again", "read as a memory bank"):
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = dict(file.metadata() or {})
        parts: dict[str, dict[str, Tensor]] = {}
        for name in [name for name in tensors if "." in name]:
            key, _, part = name.rpartition(".")
            parts.setdefault(key, {})[part] = tensors.pop(name)
        if not parts:
            raise ValueError("it holds none")
        return {key: _checked(MemoryBank(**part)) for key, part in parts.items()}, tensors, metadata


def _checked(bank: MemoryBank) -> MemoryBank:
    """Return the bank, or raise `ValueError` if its tensors do not fit each other."""
    size, width = checked_array(bank.patches_MD.numpy(), np.float32, (None, None)).shape
    checked_array(bank.mean_D.numpy(), np.float32, (width,))
    checked_array(bank.image_M.numpy(), np.int64, (size,))
    for divisor, shape in ((bank.std_D, (width,)), (bank.spread, ())):
        if not (checked_array(divisor.numpy(), np.float32, shape) > 0).all():
            raise ValueError("a standard deviation that is not positive")
    return bank
