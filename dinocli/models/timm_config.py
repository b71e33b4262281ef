"""Schema of `config.json` of a timm folder: types, and limits on sizes."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from dinocli.errors import WeightsError
from dinocli.stored import AnyJson, Name, Stored, read_json

MOST = {"depth": 256, "depths": 256, "num_heads": 1024, "embed_dim": 16_384, "img_size": 16_384}
"""Of single arguments; all others stop at `MOST_ARGUMENT`."""

MOST_ARGUMENT = 100_000

Number = Annotated[float, Field(allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=16_384)]


def _small(args: dict[str, Any]) -> dict[str, Any]:
    for key, value in args.items():
        numbers = [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, int | float)]
        if any(not abs(number) <= MOST.get(key, MOST_ARGUMENT) for number in numbers):
            raise ValueError(f"{key} is larger than any model's")
    return args


class PretrainedRecord(Stored):
    """timm's `pretrained_cfg`, as far as we read it."""

    mean: list[Number] = Field(default_factory=list, max_length=16)
    std: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=list, max_length=16)
    input_size: list[Side] = Field(default_factory=list, max_length=3)
    license: str | None = None
    num_classes: int | None = None


class TimmRecord(Stored):
    """config.json."""

    architecture: Name
    num_classes: int | None = None
    model_args: Annotated[AnyJson, AfterValidator(_small)] = Field(default_factory=dict)
    pretrained_cfg: PretrainedRecord | None = None
    dinocli: AnyJson | None = None


def read_timm_config(folder: Path, source: str) -> dict[str, Any]:
    """Read ``config.json`` of a timm folder, or say what the folder is instead.

    Args:
        folder: That holds it.
        source: What the user gave, for messages.

    Raises:
        WeightsError: It is not there, damaged, or not timm's.
    """
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "run.json").is_file():
            raise WeightsError(f"{source}: this run has not ended, it has no weights yet: continue with --resume")
        raise WeightsError(f"{source}: no readable config.json: give a run, a timm folder or a checkpoint file")
    whole = read_json(path, Stored, "give a run, a timm folder or a checkpoint file")
    if "architecture" not in whole:
        raise WeightsError(f"{source}: its config.json is not timm's: give the same weights by their timm name")
    return read_json(path, TimmRecord, "give the same weights by their timm name")
