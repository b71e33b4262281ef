r"""Make the image sets of the published tables from their public sources.

    python benchmarks/sets.py NAME SOURCE OUT

writes the images to `OUT/NAME` and, where the class is not the folder, `OUT/NAME.csv` (path, label; of magnetic tiles
also the tile). SOURCE is what `git clone` or `unzip` gives:

    steel    NEU surface defect database, a folder for each class; 150 a class; research use
    xray     chest x-rays of github.com/muhammedtalo/COVID-19, a folder for each class; 300 a class; research use
    cells    github.com/zae-bayern/elpv-dataset; defective above a probability of 0.5; CC BY-NC-SA 4.0
    tiles    github.com/abin24/Magnetic-tile-defect-datasets.; no licence stated
    boards   github.com/tangsanli5201/DeepPCB; windows of 128 px around 150 flaws of each of six kinds; MIT
    blood    github.com/apple2373/BCCD, without basophils; MIT
    aerial   github.com/palewithout/RSSCN7; 100 a class; no licence stated
    photos   Caltech-101, 30 images of each of 26 classes; CC BY 4.0

and, on which no default was chosen until 2026-11-30:

    flowers  five kinds of flowers, github.com/atiaisaac/flowers_classification; 150 a class; CC BY
    textures ten classes of the Describable Textures Dataset, github.com/pan8915/DeepTexture; 90 a class; research use
    insects  ants and bees, github.com/zhangtao7750/syn; no licence stated
    pets     cats and dogs, github.com/karemsaeed21/cat_vs_dog_classification_CNN; 300 a class; no licence stated
    waste    TrashNet, resized, github.com/congduytran12/Trash-Classification-; 130 a class; MIT
    tiny     Tiny ImageNet, 64 px, github.com/seshuad/IMagenet; 40 images of each of 26 classes; research use

`--side N` resizes the shorter side to N pixels, `--grey` removes the colour; the folder is then `OUT/NAME-N-grey`.
A subset is the beginning of `random.Random(0).shuffle` of the sorted names of a class.
"""

import argparse
import csv
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

FLAWS = {"1": "open", "2": "short", "3": "mousebite", "4": "spur", "5": "copper", "6": "pinhole"}
WINDOW = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(SETS))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=0)
    parser.add_argument("--grey", action="store_true")
    args = parser.parse_args()
    images = args.out / "-".join(
        [args.name, *([str(args.side)] if args.side else []), *(["grey"] if args.grey else [])]
    )
    images.mkdir(parents=True)
    SETS[args.name](args.source, images)
    if args.side or args.grey:
        for path in [path for path in images.rglob("*") if path.is_file()]:
            change(path, args.side, grey=args.grey)
    print(f"{images}: {sum(path.is_file() for path in images.rglob('*'))} images")


def change(path: Path, side: int, *, grey: bool) -> None:
    """Replace an image by a smaller or grey one, a PNG."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if side:
        scale = side / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    path.unlink()
    (image.convert("L") if grey else image).save(path.with_suffix(".png"))


def steel(source: Path, images: Path) -> None:
    copy_classes(class_folders(source), images, 150)


def xray(source: Path, images: Path) -> None:
    copy_classes(class_folders(source), images, 300)


def aerial(source: Path, images: Path) -> None:
    copy_classes(class_folders(source), images, 100)


def blood(source: Path, images: Path) -> None:
    folders = class_folders(source / "BCCD_cropped")
    copy_classes([folder for folder in folders if folder.name != "Basophil"], images)


def photos(source: Path, images: Path) -> None:
    left_out = ("BACKGROUND_Google", "Faces_easy")
    folders = class_folders(source / "101_ObjectCategories")
    large = [folder for folder in folders if folder.name not in left_out and len(names(folder)) >= 50]
    copy_classes(large[:26], images, 30)


def flowers(source: Path, images: Path) -> None:
    copy_classes(class_folders(source / "flowers"), images, 150)


def textures(source: Path, images: Path) -> None:
    copy_classes(class_folders(source / "images"), images, 90)


def insects(source: Path, images: Path) -> None:
    copy_classes(class_folders(source / "hymenoptera_data" / "train"), images)
    for folder in class_folders(source / "hymenoptera_data" / "val"):
        for name in names(folder):
            shutil.copy2(folder / name, images / folder.name / name)


def pets(source: Path, images: Path) -> None:
    copy_classes(class_folders(source / "PetImages"), images, 300)


def waste(source: Path, images: Path) -> None:
    copy_classes(class_folders(source / "dataset-resized"), images, 130)


def tiny(source: Path, images: Path) -> None:
    folders = shuffled((source / "tiny-imagenet-200" / "train").iterdir())[:26]
    for folder in folders:
        (images / folder.name).mkdir()
        for name in shuffled(names(folder / "images"))[:40]:
            shutil.copy(folder / "images" / name, images / folder.name / name)


def cells(source: Path, images: Path) -> None:
    with next(source.rglob("labels.csv")).open(encoding="utf-8") as lines:
        rows = [re.split(r"[\s,]+", line.strip()) for line in lines if line.startswith("images/")]
    labels = []
    for path, probability, *_ in rows:
        name = Path(path).name
        shutil.copy2(next(source.rglob(name)), images / name)
        labels.append((name, "defect" if float(probability) > 0.5 else "good"))
    write_labels(images, ("path", "label"), labels)


def tiles(source: Path, images: Path) -> None:
    """Copy all images, with the number of their tile."""
    rows: list[tuple[str, str, str]] = []
    for tile, label, path in tile_frames(source):
        (images / label).mkdir(exist_ok=True)
        shutil.copy2(path, images / label / path.name)
        rows.append((f"{label}/{path.name}", label, str(tile)))
    write_labels(images, ("path", "label", "tile"), rows)


def tile_frames(source: Path) -> Iterator[tuple[int, str, Path]]:
    """Yield tile, class and path of all images; consecutive frames whose exposure numbers rise are one tile."""
    frames = []
    for folder in class_folders(source):
        for path in sorted((folder / "Imgs").glob("*.jpg")):
            exposure, number = re.findall(r"\d+", path.stem)[:2]
            frames.append((int(number), int(exposure), folder.name.removeprefix("MT_"), path))
    tile, last = 0, 0
    for _, exposure, label, path in sorted(frames):
        tile += exposure <= last
        last = exposure
        yield tile, label, path


def boards(source: Path, images: Path) -> None:
    """Cut windows around flaws: at most two of an image and kind."""
    flaws = defaultdict(list)
    for annotation in sorted(source.glob("PCBData/*/*_not/*.txt")):
        photo = annotation.parent.with_name(annotation.parent.name.removesuffix("_not")) / f"{annotation.stem}_test.jpg"
        for line in annotation.read_text().splitlines():
            left, top, right, bottom, kind = re.split(r"[\s,]+", line.strip())
            flaws[FLAWS[kind]].append((photo, (int(left) + int(right)) // 2, (int(top) + int(bottom)) // 2))
    for kind, places in flaws.items():
        (images / kind).mkdir()
        used: dict[Path, int] = defaultdict(int)
        kept = 0
        for photo, x, y in shuffled(places):
            if kept == 150 or used[photo] == 2:
                continue
            with Image.open(photo) as image:
                left = min(max(x - WINDOW // 2, 0), image.width - WINDOW)
                top = min(max(y - WINDOW // 2, 0), image.height - WINDOW)
                window = image.crop((left, top, left + WINDOW, top + WINDOW))
                window.save(images / kind / f"{photo.stem}-{x}-{y}.png")
            used[photo] += 1
            kept += 1


def class_folders(source: Path) -> list[Path]:
    return sorted(folder for folder in source.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp"))


def copy_classes(folders: Iterable[Path], images: Path, most: int | None = None) -> None:
    for folder in folders:
        (images / folder.name).mkdir()
        for name in shuffled(names(folder))[:most]:
            shutil.copy2(folder / name, images / folder.name / name)


def shuffled(items: Iterable[Any]) -> list[Any]:
    drawn = sorted(items)
    random.Random(0).shuffle(drawn)
    return drawn


def write_labels(images: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    with images.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


SETS: dict[str, Callable[[Path, Path], None]] = {
    function.__name__: function
    for function in (
        *(steel, xray, cells, tiles, boards, blood, aerial, photos),
        *(flowers, textures, insects, pets, waste, tiny),
    )
}


if __name__ == "__main__":
    main()
