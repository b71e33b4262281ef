"""Save and load memory banks with further tensors and metadata: one safetensors file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dinocli.errors import WeightsError
from dinocli.files import with_sorted_metadata, write_atomic
from dinocli.quality.rarity import MemoryBank


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
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = dict(file.metadata() or {})
        parts: dict[str, dict[str, Tensor]] = {}
        for name in [name for name in tensors if "." in name]:
            key, _, part = name.rpartition(".")
            parts.setdefault(key, {})[part] = tensors.pop(name)
        banks = {key: MemoryBank(**part) for key, part in parts.items()}
    except (OSError, SafetensorError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} cannot be read as a memory bank ({reason}): embed the folder again") from error
    if not banks:
        raise WeightsError(f"{path} holds no memory bank: embed the folder again")
    return banks, tensors, metadata
