"""timm's `config.json`, in a folder or in the metadata of a safetensors file: schema, limits on sizes, reading."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from safetensors import SafetensorError, safe_open

from dinocli.errors import WeightsError
from dinocli.stored import AnyJson, Name, Stored, read_json

METADATA_KEY = "timm_config"
"""Key of ``config.json`` in the metadata of a safetensors file that dinocli wrote."""

MAX_ARGUMENTS = {"depth": 256, "depths": 256, "num_heads": 1024, "embed_dim": 16_384, "img_size": 16_384}
"""Upper limits of single model arguments; `MAX_ARGUMENT` for all others."""

MAX_ARGUMENT = 100_000

Number = Annotated[float, Field(allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=16_384)]


def _limited(args: dict[str, Any]) -> dict[str, Any]:
    """Raise `ValueError` for arguments beyond the limits, which would exhaust memory."""
    for key, value in args.items():
        numbers = [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, int | float)]
        if any(not abs(number) <= MAX_ARGUMENTS.get(key, MAX_ARGUMENT) for number in numbers):
            raise ValueError(f"{key} is larger than any model's")
    return args


class PretrainedRecord(Stored):
    """The fields of timm's `pretrained_cfg` that are used."""

    mean: list[Number] = Field(default_factory=list, max_length=16)
    std: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=list, max_length=16)
    input_size: list[Side] = Field(default_factory=list, max_length=3)
    license: str | None = None
    num_classes: int | None = None


class TimmRecord(Stored):
    """Fields of `config.json`."""

    architecture: Name
    num_classes: int | None = None
    model_args: Annotated[AnyJson, AfterValidator(_limited)] = Field(default_factory=dict)
    pretrained_cfg: PretrainedRecord | None = None
    dinocli: AnyJson | None = None
    similarity_change: Annotated[float, Field(ge=-1, le=1)] = 0.0


def read_timm_config(folder: Path, source: str) -> dict[str, Any]:
    """Read and check ``config.json`` of a timm folder.

    Args:
        folder: The timm folder.
        source: The user's argument, for messages.

    Raises:
        WeightsError: The file is missing, damaged or not timm's; the message says what the folder is instead.
    """
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "run.json").is_file():
            raise WeightsError(f"{source}: this run has not ended, it has no weights yet: continue with --resume")
        raise WeightsError(f"{source}: no readable config.json: give a run, a timm folder or a checkpoint file")
    content = read_json(path, Stored, "give a run, a timm folder or a checkpoint file")
    if "architecture" not in content:
        raise WeightsError(f"{source}: its config.json is not timm's: give the same weights by their timm name")
    return read_json(path, TimmRecord, "give the same weights by their timm name")


def embedded_config(path: Path) -> str:
    """Return the ``config.json`` in the metadata of a weights file, as text; empty if there is none."""
    if path.suffix != ".safetensors":
        return ""
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError):  # reading the tensors says what is wrong
        return ""
    return metadata.get(METADATA_KEY, "")
