"""Whether the memory of `dinocli embed` grows with the number of images: peak resident memory of the whole command.

    python benchmarks/embed_memory.py --counts 1000 100000

The images are small (48 x 40 pixels) and the network is tiny, so that what an image costs is what can be seen.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

A_FOLDER = 1000
UNIQUE = 100
COMMAND = ("--weights", "none", "--model", "test_convnext", "--size", "32", "--device", "cpu", "--batch-size", "64")


def make(folder: Path, count: int) -> None:
    """Write some images, and many more names for them."""
    pixels = np.random.default_rng(0)
    folder.mkdir()
    originals = [folder.parent / f"{number}.png" for number in range(UNIQUE)]
    for path in originals:
        Image.fromarray(pixels.integers(0, 256, (40, 48), dtype=np.uint8)).save(path)
    for number in range(count):
        inner = folder / f"{number // A_FOLDER:04}"
        inner.mkdir(exist_ok=True)
        os.link(originals[number % UNIQUE], inner / f"image-{number:07}.png")


def peak(folder: Path, out: Path) -> tuple[float, float]:
    """Return the largest resident memory of one command, MB, and its seconds."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "dinocli", "embed", str(folder), *COMMAND, "--out", str(out), "-q"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the command ended with {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return used.ru_maxrss * unit / 1e6, time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 100_000])
    asked = parser.parse_args()
    for count in asked.counts:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder, "images"), count)
            megabytes, seconds = peak(Path(folder, "images"), Path(folder, "feats.npy"))
            rows = np.load(Path(folder, "feats.npy"), mmap_mode="r").shape[0]
        print(f"{rows:8} rows: peak {megabytes:7.1f} MB in {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
