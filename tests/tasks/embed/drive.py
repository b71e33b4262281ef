"""A job as small as they come, and folders for it."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.inputs import ReadOptions


def write_images(folder: Path, count: int, *, mixed: bool = False) -> Path:
    """Write grey PNGs of noise, all 48 x 40, or each of another size."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0)
    for number in range(count):
        size = (40 + 7 * (number % 4), 48 + 5 * (number % 3)) if mixed else (40, 48)
        Image.fromarray(pixels.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{number:03}.png")
    return folder


def job(folder: Path, out: Path, kind: str = "auto", layers: int = 1, **changed: Any) -> EmbedOptions:
    """Return a job with a tiny random convnet on 32 pixels."""
    net = {"weights": "none", "model": "test_convnext", "size": 32, "device": "cpu"}
    names = {field.name for field in fields(ReadOptions)}
    read = ReadOptions(**{"workers": 0, **{key: changed.pop(key) for key in names & changed.keys()}})
    usual: dict[str, Any] = {**net, "read": read, "batch_size": 4}
    return EmbedOptions((str(folder),), str(out), tokens=kind, layers=layers, **{**usual, **changed})
