"""Checkpoints: tensors and JSON-like data, written whole or not at all, read without running anyone's code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dinocli.errors import WeightsError
from dinocli.files import whole_file


def save_checkpoint(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a checkpoint; a kill at any moment leaves either the old or the new file."""
    with whole_file(path) as file:
        torch.save(dict(payload), file)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint of ours with `weights_only=True`.

    Raises:
        WeightsError: If it cannot be read.
    """
    try:
        payload: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"cannot read the checkpoint {path} ({_first_line(error)}); delete it to start anew"
        ) from None
    return payload


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
