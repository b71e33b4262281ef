"""Time and memory against the number of images: listing, survey, cache and embed, each in its own process.

    python benchmarks/scaling.py --counts 1000 10000 100000
    python benchmarks/scaling.py --counts 1000000 --stages list shards survey cache

Images are small (48 x 40 pixels) and the network is tiny, to measure the cost per image rather than per pixel. `shards`
lists the same images in tar shards of 10,000. Seconds exclude the start of Python and its libraries; memory is the peak
resident memory of the process, including them.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

A_FOLDER, A_SHARD, UNIQUE = 1000, 10_000, 100
STAGES = ("nothing", "list", "shards", "survey", "cache", "embed")


def make(folder: Path, count: int) -> None:
    """Write some images, many more links to them, and tar shards of the same names."""
    pixels = np.random.default_rng(0)
    originals = [folder / f"{number}.png" for number in range(UNIQUE)]
    for path in originals:
        Image.fromarray(pixels.integers(0, 256, (40, 48), dtype=np.uint8)).save(path)
    (folder / "shards").mkdir()
    for start in range(0, count, A_SHARD):
        with tarfile.open(folder / "shards" / f"{start // A_SHARD:05}.tar", "w") as archive:
            for number in range(start, min(start + A_SHARD, count)):
                inner = folder / "images" / f"{number // A_FOLDER:04}"
                inner.mkdir(parents=True, exist_ok=True)
                name = inner / f"image-{number:07}.png"
                os.link(originals[number % UNIQUE], name)
                archive.add(name, name.name)


def stage(name: str, folder: Path) -> tuple[float, int]:
    """Run one stage; return its seconds and the number of its images."""
    from dinocli.config.preprocess import Preprocess
    from dinocli.data.cache import Decoder, open_store
    from dinocli.data.read import Reader
    from dinocli.data.sources import find_images
    from dinocli.data.survey import survey

    if name == "nothing":
        return 0.0, 0
    if name == "embed":
        from dinocli.tasks.embed.embed import embed
        from dinocli.tasks.embed.embed_options import EmbedOptions

        net: dict[str, Any] = {
            "weights": "none",
            "model": "test_convnext",
            "size": 32,
            "device": "cpu",
        }
        begin = time.perf_counter()
        rows = embed(
            EmbedOptions((str(folder / "images"),), str(folder / "feats.npy"), batch_size=64, note=False, **net)
        ).rows
        return time.perf_counter() - begin, rows
    begin = time.perf_counter()
    images = find_images([str(folder / ("shards" if name == "shards" else "images"))])
    if name == "survey":
        begin = time.perf_counter()
        survey(images, "auto")
    if name == "cache":
        about = Preprocess("full", 0.0, 255.0, False, True, (), 0, (0.5,) * 3, (0.5,) * 3, 32)
        begin = time.perf_counter()
        open_store(Decoder(images, Reader(about, 32), "auto", "0"), cache="auto", shared=True, folder=folder / "cache")
    return time.perf_counter() - begin, len(images)


def measured(name: str, folder: Path) -> tuple[float, float]:
    """Run a stage in its own process; return its seconds and its peak resident memory, MB."""
    command = [sys.executable, __file__, "--stage", name, "--folder", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    answer = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name} ended with {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return float(json.loads(answer)["seconds"]), used.ru_maxrss * unit / 1e6


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000], help="numbers of images")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stage:
        seconds, images = stage(asked.stage, asked.folder)
        print(json.dumps({"seconds": seconds, "images": images}))
        return
    print("| images | " + " | ".join(f"{name}, s (MB)" for name in asked.stages) + " |")
    print("|" + "---|" * (len(asked.stages) + 1))
    for count in asked.counts:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), count)
            cells = ("{:.2f} ({:.0f})".format(*measured(name, Path(folder))) for name in asked.stages)
            print(f"| {count:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
