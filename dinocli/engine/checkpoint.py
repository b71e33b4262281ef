"""Checkpoints: tensors and JSON-like data, written whole or not at all, read without running anyone's code."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dinocli.errors import WeightsError


def save_checkpoint(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a checkpoint: temporary file beside it, flushed to the disk, renamed over the old one.

    A kill at any moment leaves either the old or the new file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(payload), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
