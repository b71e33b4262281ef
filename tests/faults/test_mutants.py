"""Damaged images: each is pixels or one clear error, in bounded time and memory."""

import io
import resource
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile
from PIL import Image

from dinocli.data.read import Reader
from dinocli.errors import DataError
from tests.data.files import deep_png, noise, settings
from tests.data.hostile import bombs, mutants
from tests.forks import FORKS

MUTANTS, SAMPLE = 5000, 60
SECONDS, BYTES = 20, 6 << 30
"""Of one image; a hang or an explosion ends the process."""


def originals() -> dict[str, bytes]:
    """Return a good file of each kind, by name."""
    colour, grey = Image.fromarray(noise(24, 20, 3)), Image.fromarray(noise(24, 20))
    files = {name: bombs()[name] for name in ("frame.gif", "tiles.tif", "samples.tif", "truncated.png")}
    for suffix, image in (("jpg", colour), ("png", colour), ("gif", grey), ("bmp", colour), ("webp", colour)):
        files[f"a.{suffix}"] = _saved(image, "jpeg" if suffix == "jpg" else suffix)
    files["alpha.png"] = _saved(Image.fromarray(noise(24, 20, 4)), "png")
    files["palette.png"] = _saved(colour.quantize(16), "png")
    files["a.ppm"] = _saved(colour, "ppm")
    files["deep.png"] = deep_png(noise(24, 20, 3, dtype="uint16"))
    for name, more in (("strips", {}), ("tiles", {"tile": (16, 16)}), ("deflate", {"compression": "zlib"})):
        held = io.BytesIO()
        tifffile.imwrite(held, noise(24, 20, dtype="uint16"), **more)
        files[f"{name}.tif"] = held.getvalue()
    return files


def _saved(image: Image.Image, kind: str) -> bytes:
    held = io.BytesIO()
    image.save(held, kind)
    return held.getvalue()


def _read_all(pipe: Any, folder: Path, each: int, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    warnings.simplefilter("ignore")
    reader = Reader(settings(), 32)
    counts = [0, 0]
    for name, original in originals().items():
        path = folder / name
        for number, content in enumerate(mutants(original, each, seed)):
            pipe.send(f"{name}, mutant {number} of {each}, seed {seed}")
            path.write_bytes(content)
            signal.alarm(SECONDS)
            try:
                for look in (reader.count, reader.canvases):
                    look(str(path))
                counts[0] += 1
            except DataError as error:
                counts[1] += "\n" not in str(error)
    signal.alarm(0)
    pipe.send(counts)


def read_mutants(folder: Path, each: int, seed: int) -> tuple[int, int]:
    """Read mutants of each file in a process of their own; return how many were pixels, and how many were refused."""
    ours, theirs = FORKS.Pipe()
    child = FORKS.Process(target=_read_all, args=(theirs, folder, each, seed))
    child.start()
    theirs.close()
    last: Any = ""
    try:
        while True:
            last = ours.recv()
    except EOFError:
        child.join()
    assert isinstance(last, list), f"{last} ended the process with {child.exitcode}"
    return last[0], last[1]


def test_damaged_images_are_pixels_or_one_error(quick_path: Path) -> None:
    read, refused = read_mutants(quick_path, SAMPLE // len(originals()) + 1, 1)
    assert read + refused >= SAMPLE
    assert min(read, refused) > 5


@pytest.mark.slow
def test_many_damaged_images_are_pixels_or_one_error(quick_path: Path, tally: Callable[[str, int], None]) -> None:
    read, refused = read_mutants(quick_path, MUTANTS // len(originals()) + 1, 2)
    assert read + refused >= MUTANTS
    tally("mutants of images, read as pixels", read)
    tally("mutants of images, refused in one line", refused)
