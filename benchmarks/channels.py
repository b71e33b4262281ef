"""Measure whether a fourth channel is used: synthetic images whose class depends on that channel only.

    python benchmarks/channels.py --weights tf_efficientnet_lite0.safetensors --model tf_efficientnet_lite0

Red, green and blue are smooth random textures, alike in both classes; the fourth channel has blobs in one class and
stripes in the other, with the same mean and standard deviation. Prints the leave-one-out k-NN accuracy of `pretrain
--labels folder` with three and with four channels, before and after a few steps. Chance is 0.5.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

KINDS = ("blobs", "stripes")
SIDE = 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="RGB weights: a timm name, a file, a run")
    parser.add_argument("--model", default="", help="timm name, needed with a bare state dict")
    parser.add_argument("--images", type=int, default=120, help="number of images of both classes (%(default)s)")
    parser.add_argument("--steps", type=int, default=30, help="training steps (%(default)s)")
    args = parser.parse_args()
    start = ["--weights", args.weights, *(["--model", args.model] if args.model else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", args.images)
        for channels in ("0,1,2", "0,1,2,3"):
            run = folder / f"run-{channels}"
            how = ["--recipe", "gentle", "--recipe", "satellite", "--channels", channels, "--steps", str(args.steps)]
            words = [
                str(folder / "images"),
                *start,
                *how,
                "--labels",
                "folder",
                "--out",
                str(run),
                "--device",
                "cpu",
                "-q",
            ]
            command = [sys.executable, "-m", "dinocli", "pretrain", *words]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            before, after = accuracies(run)
            print(f"channels {channels:8} start {before:.3f}, after {args.steps} steps {after:.3f}", flush=True)


def write_images(folder: Path, count: int) -> None:
    """Write four-band TIFF files, 8 bits, in one folder per class."""
    for number in range(count):
        kind = KINDS[number % 2]
        random = np.random.default_rng(number)
        colours = [texture(random, random.uniform(8, 30)) for _ in range(3)]
        fourth = texture(random, 14) if kind == "blobs" else stripes(random)
        pixels = np.stack([*colours, fourth], axis=-1)
        path = folder / kind / f"{number:04}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unspecified"])


def texture(random: np.random.Generator, cell: float) -> NDArray[np.uint8]:
    """Return smooth random blobs, about `cell` pixels wide."""
    small = random.standard_normal((round(SIDE / cell) + 2,) * 2).astype(np.float32)
    return levels(np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)), random)


def stripes(random: np.random.Generator) -> NDArray[np.uint8]:
    """Return stripes with a period of 14 pixels, in a random direction."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    turn = random.uniform(0, np.pi)
    return levels(
        np.sin(2 * np.pi / 14 * (rows * np.sin(turn) + columns * np.cos(turn)) + random.uniform(0, 6)), random
    )


def levels(values: NDArray[np.floating], random: np.random.Generator) -> NDArray[np.uint8]:
    """Scale a pattern to a fixed mean and standard deviation, with a little noise."""
    units = (values - values.mean()) / values.std() + 0.2 * random.standard_normal(values.shape)
    pixels: NDArray[np.uint8] = np.clip(128 + 45 * units, 0, 255).astype(np.uint8)
    return pixels


def accuracies(run: Path) -> tuple[float, float]:
    """Return the k-NN accuracy of start and adapted weights, independent of the verdict."""
    lines = json.loads((run / "run.json").read_text())["outcome"]["labelled"]
    line = next(line for line in lines if "k-NN accuracy" in line["name"])
    return line["start"], line["adapted"]


if __name__ == "__main__":
    main()
