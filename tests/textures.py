"""Three kinds of synthetic texture: the same mean, contrast and noise, another structure."""

from pathlib import Path

import numpy as np
from PIL import Image

KINDS = {"fine": 0.3, "coarse": 0.06, "checks": 0.15}
"""Cycles per pixel."""


def write_textures(folder: Path, each: int, side: int, seed: int = 0) -> Path:
    """Write `each` PNGs of every kind into a folder of its name. Brightness and contrast say nothing about the kind."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    for kind, frequency in KINDS.items():
        (folder / kind).mkdir(parents=True)
        for number in range(each):
            phase, angle = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0, 2 * np.pi)
            along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
            wave = np.sin(2 * np.pi * frequency * along + phase[0])
            if kind == "checks":
                wave = wave * np.sin(2 * np.pi * frequency * across + phase[1]) * 1.41
            grey = wave * rng.uniform(10, 60) + rng.normal(0, 10, wave.shape) + rng.uniform(70, 185)
            Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(folder / kind / f"{number:02d}.png")
    return folder
