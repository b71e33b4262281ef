"""Compare two source trees bit by bit after a refactoring: losses, weights, features, clusters and masks.

    python benchmarks/bit_identity.py --tree PATH_OF_OLD --tree PATH_OF_NEW

Every command runs once per tree in its own process, on the same seeded images with random weights, on one thread.
Prints one line per result: `same` or `DIFFERENT`, its name, and the first digits of the SHA-256 of its numbers.
"""

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES, SIDE = 24, 96
VIT, CONVNET = "vit_tiny_patch16_224", "tf_efficientnet_lite0"
SEGMENT_METHODS = ("attention", "tokencut", "kmeans", "pca", "anomaly")


def make_images(folder: Path) -> None:
    """Write seeded textures of two kinds, a third of them with a bright spot."""
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        rows, columns = np.mgrid[:SIDE, :SIDE]
        wave = np.sin((rows if number % 2 else columns) * (0.2 + 0.02 * number))
        pixels = 120 + 60 * wave + random.normal(0, 12, (SIDE, SIDE))
        if number % 3 == 0:
            top, left = random.integers(10, SIDE - 30, 2)
            pixels[top : top + 16, left : left + 16] += 90
        path = folder / ("rows" if number % 2 else "columns") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([pixels, pixels * 0.9, pixels * 0.8], -1).clip(0, 255).astype(np.uint8)).save(path)


def digest(*arrays: object) -> str:
    """Return the SHA-256 of arrays or of text."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(array.tobytes() if isinstance(array, np.ndarray) else str(array).encode())
    return total.hexdigest()


def losses(run: Path) -> str:
    """Return the hash of the losses of a run."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return digest([row["loss"] for row in rows if "loss" in row])


def masks(folder: Path) -> str:
    """Return the hash of all label maps."""
    return digest(*(np.asarray(Image.open(path)) for path in sorted((folder / "masks").rglob("*.png"))))


def groups(table: Path) -> str:
    """Return the hash of the cluster column."""
    with table.open(newline="") as file:
        return digest([row["cluster"] for row in csv.DictReader(file)])


def file(path: Path) -> str:
    """Return the hash of a file."""
    return digest(np.frombuffer(path.read_bytes(), np.uint8))


Result = tuple[str, list[str], Callable[[], str]]


def commands(images: str, out: Path) -> list[Result]:
    """Return (name, arguments, hash function of the result) in the order of execution."""
    small = ["--steps", "5", "--batch-size", "6", "--seed", "0", "--device", "cpu", "--weights", "none"]
    settings = ["head.out_dim=64", "views.global_size=64", "views.local_size=32", "views.local_count=2"]
    settings += ["guard.probe_images=12", "run.precision=fp32", "run.attention=math", "guard.stop=false"]
    flags = [item for setting in settings for item in ("--set", setting)]
    found: list[Result] = []
    for name, model in (("vit", VIT), ("convnet", CONVNET)):
        run = out / name
        for command in ("pretrain", "finetune-ssl"):
            place = run / command
            arguments = [command, images, "--model", model, *small, *flags, "--out", str(place)]
            found.append((f"{name} {command}: losses", arguments, partial(losses, place)))
            found.append((f"{name} {command}: weights", [], partial(file, place / "backbone/model.safetensors")))
        weights = str(run / "finetune-ssl")
        cases = [("", []), ("patch", ["--tokens", "patch"]), ("tile", ["--tile", "64:16"])]
        for suffix, more in [*cases, ("cls", ["--tokens", "cls"])] if name == "vit" else cases:
            path = run / f"feats{suffix}.npy"
            arguments = ["embed", images, "--weights", weights, "--out", str(path), "--precision", "fp32", *more]
            found.append((f"{name} embed {suffix or 'default'}", arguments, partial(file, path)))
        for method in ("kmeans", "hdbscan", "agglomerative"):
            path = run / f"{method}.csv"
            k = [] if method == "hdbscan" else ["-k", "3"]
            more = ["--method", method, *k, "--out", str(path), "--report", "none"]
            found.append(
                (f"{name} cluster {method}", ["cluster", str(run / "feats.npy"), *more], partial(groups, path))
            )
        for method in SEGMENT_METHODS[0 if name == "vit" else 1 :]:
            place = run / f"masks-{method}"
            more = ["--method", method, "--size", "96", "--precision", "fp32", "--out", str(place)]
            found.append(
                (f"{name} segment {method}", ["segment", images, "--weights", weights, *more], partial(masks, place))
            )
    return found


def run_all(tree: Path, images: Path, out: Path) -> dict[str, str]:
    """Run every command with one tree; returns the hash of each result, or the error of a command that failed."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(out / "cache")}
    found = {}
    for name, arguments, hashed in commands(str(images), out):
        if arguments:
            done = subprocess.run(
                [sys.executable, "-m", "dinocli", *arguments],
                cwd=out, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip
        try:
            found[name] = hashed()
        except OSError:
            found[name] = f"failed: {done.stderr.strip().splitlines()[-1:]}"
        print(f"{tree.name}: {name}: {found[name][:16]}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Run both trees and print the comparison; exit 1 if any result differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, action="append", required=True, help="source tree; give two")
    trees = parser.parse_args().tree
    with tempfile.TemporaryDirectory() as place:
        make_images(Path(place) / "images")
        results = []
        for number, tree in enumerate(trees):
            out = Path(place) / str(number)
            out.mkdir()
            results.append(run_all(tree.resolve(), Path(place) / "images", out))
    first, *others = results
    different = 0
    for name, value in first.items():
        same = all(other.get(name) == value for other in others)
        different += not same
        print(f"{'same' if same else 'DIFFERENT'}\t{name}\t{value[:16] if same else [r[name][:60] for r in results]}")
    raise SystemExit(1 if different else 0)


if __name__ == "__main__":
    main()
