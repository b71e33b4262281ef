"""Make the image sets of the mask benchmarks: from public sources, or drawn.

    python benchmarks/mask_sets.py OUT NAME=SOURCE [NAME ...] [--seed 0]

writes `OUT/NAME` with `test/defective`, `test/good`, `truth/defective` (masks) and, but for glass and steel,
`reference` (good images), as PNG. SOURCE is what `git clone` gives; names that are marked with * have none, they are
drawn.

    ball-screws  github.com/2Obe/BSData, images of 1130x460 px (other sizes are nearly all defective): 60 with pitting,
                 60 without a label file; 30 other good ones as references; CC BY-SA 4.0
    tiles        github.com/abin24/Magnetic-tile-defect-datasets.: one image of each of 49 defective and 80 good tiles,
                 30 of them as references; no licence stated
    circuits     github.com/tangsanli5201/DeepPCB, group 12100: 24 boards, 24 templates, 24 others as references; masks
                 are the pixels in boxes where a board differs from its template by more than 100; MIT
    asphalt      github.com/JeromeWynne/CrackForest-dataset: 26 quarters with more than 100 pixels of label 2 (crack),
                 24 without a label above 1, 20 as references; non-commercial research
    steel        github.com/DHW-Master/NEU_Seg: 30 images with inclusions only, none is good; no licence stated
    glass        github.com/174ww/GLASS-Anomaly-datasets: 16 edges, 14 angles, all good ones of `test`; no references,
                 since those of `good` are the same files; no licence stated
    *            drawn by `drawn_parts.py`: brushed, woven, leather, carpet, wood (textures), plate, washer, board
                 (parts); 16 defective, 24 good, 16 references

A subset is the beginning of `random.Random(seed).shuffle` of the sorted names. No image, and no magnetic tile, is in
two of the folders.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import sets
from drawn_parts import SCENES, Parts, Pixels, drawn
from PIL import Image, ImageDraw
from scipy.io import loadmat


def main() -> None:
    """Parse, write the sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", metavar="NAME[=SOURCE]")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for name, _, source in (text.partition("=") for text in asked.sets):
        counts = dict.fromkeys(("defective", "good", "reference"), 0)
        parts = drawn(name, asked.seed) if name in SCENES else SETS[name](Path(source), random.Random(asked.seed))
        for part, stem, pixels, mask in parts:
            save(asked.out / name / (part if part == "reference" else f"test/{part}") / f"{stem}.png", pixels)
            if mask is not None:
                save(asked.out / name / "truth" / part / f"{stem}.png", 255 * mask.astype(np.uint8))
            counts[part] += 1
        print(f"{asked.out / name}: {counts}")


def save(file: Path, pixels: Pixels) -> None:
    """Write a PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def shuffled(items: Iterable[Any], draw: random.Random) -> list[Any]:
    """Return the items in random order."""
    drawn = sorted(items)
    draw.shuffle(drawn)
    return drawn


def pixels_of(path: Path, mode: str = "L") -> Pixels:
    """Read an image."""
    with Image.open(path) as image:
        return np.array(image.convert(mode))


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height of an image."""
    with Image.open(path) as image:
        return image.size


def ball_screws(source: Path, draw: random.Random) -> Parts:
    """Images with and without a label file."""
    labels = {path.stem: path for path in (source / "label").glob("*.json")}
    images = shuffled((path for path in (source / "data").glob("*.jpg") if size_of(path) == (1130, 460)), draw)
    for path in [path for path in images if path.stem in labels][:60]:
        pixels = pixels_of(path, "RGB")
        mask = Image.new("1", pixels.shape[1::-1])
        for shape in json.loads(labels[path.stem].read_text())["shapes"]:
            ImageDraw.Draw(mask).polygon([tuple(point) for point in shape["points"]], fill=1)
        yield "defective", path.stem, pixels, np.array(mask)
    good = [path for path in images if path.stem not in labels][:90]
    for number, path in enumerate(good):
        yield "good" if number < 60 else "reference", path.stem, pixels_of(path, "RGB"), None


def tiles(source: Path, draw: random.Random) -> Parts:
    """One image of each tile."""
    defective: dict[int, list[Path]] = {}
    good: dict[int, list[Path]] = {}
    for tile, label, path in sets.tile_frames(source):
        (good if label == "Free" else defective).setdefault(tile, []).append(path)
    left = 49
    for tile in shuffled(defective, draw):
        path = draw.choice(defective[tile])
        mask = pixels_of(path.with_suffix(".png")) > 127
        if left and mask.any():  # a few masks are empty
            left -= 1
            yield "defective", f"{path.parts[-3]}_{path.stem}", pixels_of(path), mask
    for number, tile in enumerate(shuffled(set(good) - set(defective), draw)[:80]):
        path = draw.choice(good[tile])
        yield "good" if number < 50 else "reference", path.stem, pixels_of(path), None


def circuits(source: Path, draw: random.Random) -> Parts:
    """Boards and templates of other boards."""
    for number, path in enumerate(shuffled(source.glob("PCBData/group12100/*/*_temp.jpg"), draw)[:72]):
        stem, template = path.stem.removesuffix("_temp"), pixels_of(path)
        if number >= 24:
            yield "good" if number < 48 else "reference", stem, template, None
            continue
        board = pixels_of(path.with_name(f"{stem}_test.jpg"))
        differs, mask = abs(board.astype(int) - template) > 100, np.zeros(board.shape, np.bool_)
        for line in (path.parent.with_name(f"{path.parent.name}_not") / f"{stem}.txt").read_text().splitlines():
            left, top, right, bottom = (int(number) for number in line.split()[:4])
            mask[top:bottom, left:right] |= differs[top:bottom, left:right]
        yield "defective", stem, board, mask


def asphalt(source: Path, draw: random.Random) -> Parts:
    """Quarters of photographs with labels: 1 is not a crack."""
    cracked, free = [], []
    for file in sorted((source / "groundTruth").glob("*.mat")):
        labels = loadmat(file)["groundTruth"][0, 0][0]
        pixels, (rows, columns) = pixels_of(source / "image" / f"{file.stem}.jpg", "RGB"), np.array(labels.shape) // 2
        for y, x in np.ndindex(2, 2):
            cut = np.s_[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
            if (labels[cut] == 2).sum() > 100:
                cracked.append(("defective", f"{file.stem}-{y}{x}", pixels[cut], labels[cut] == 2))
            elif labels[cut].max() <= 1:
                free.append((f"{file.stem}-{y}{x}", pixels[cut]))
    draw.shuffle(cracked)
    draw.shuffle(free)
    yield from cracked[:26]
    for number, (name, pixels) in enumerate(free[:44]):
        yield "good" if number < 24 else "reference", name, pixels, None


def steel(source: Path, draw: random.Random) -> Parts:
    """Images with label 1 only."""
    left = 30
    for path in shuffled((source / "annotations" / "training").glob("*.png"), draw):
        labels = pixels_of(path)
        if left and set(np.unique(labels)) == {0, 1}:
            left -= 1
            yield "defective", path.stem, pixels_of(source / "images" / "training" / f"{path.stem}.jpg"), labels > 0


def glass(source: Path, draw: random.Random) -> Parts:
    """Edges and angles."""
    for kind, count in (("edge", 16), ("angle", 14)):
        for path in shuffled((source / "test" / kind).glob("*.png"), draw)[:count]:
            mask = pixels_of(source / "ground_truth" / kind / f"{path.stem}_mask.png") > 127
            yield "defective", f"{kind}-{path.stem}", pixels_of(path), mask
    for path in sorted((source / "test" / "good").glob("*.png")):
        yield "good", path.stem, pixels_of(path), None


SETS: dict[str, Callable[[Path, random.Random], Parts]] = {
    "ball-screws": ball_screws,
    "tiles": tiles,
    "circuits": circuits,
    "asphalt": asphalt,
    "steel": steel,
    "glass": glass,
}


if __name__ == "__main__":
    main()
