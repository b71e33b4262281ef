"""Write a folder of photographs with planted copies and odd images, and a table of the planted ones.

Shapes: H W pixels.
"""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

PHOTOS, OF_KIND, EXACT = 260, 4, 5
ENDINGS = (".jpg", ".jpeg", ".png")


def _crop(photo: Image.Image) -> Image.Image:
    width, height = photo.size
    return photo.crop((width // 12, height // 12, width - width // 12, height - height // 12))


def _half_and_back(photo: Image.Image) -> Image.Image:
    small = photo.resize((max(1, photo.width // 2), max(1, photo.height // 2)), Image.Resampling.BICUBIC)
    return small.resize(photo.size, Image.Resampling.BICUBIC)


def _turned(photo: Image.Image) -> Image.Image:
    return photo.rotate(3, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))


def _covered(photo: Image.Image) -> Image.Image:
    copy = photo.copy()
    top = int(photo.height * 0.7)
    ImageDraw.Draw(copy).rectangle((0, top, photo.width, top + int(photo.height * 0.12)), fill=(20, 20, 20))
    return copy


NEAR: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "crop": (_crop, 92),
    "jpeg30": (lambda photo: photo, 30),
    "bright": (lambda photo: ImageEnhance.Brightness(photo).enhance(1.3), 92),
    "half": (_half_and_back, 92),
    "turn": (_turned, 92),
    "strip": (_covered, 92),
}
"""Kind of near-copy -> transformation, and JPEG quality."""


def plant(photos: Path, target: Path, foreign: list[Path], seed: int) -> list[dict[str, str]]:
    """Write the folder, and return its table: `name`, `kind`, `of`.

    Args:
        photos: Folder with photographs, at least 260.
        target: Folder to write.
        foreign: Folders of other kinds of images: five odd images come from them in turn; none gives drawn ones.
        seed: Of the choice.
    """
    random = np.random.default_rng(seed)
    listed = sorted(path for path in photos.rglob("*") if path.suffix.lower() in ENDINGS)
    chosen = [listed[number] for number in random.permutation(len(listed))[:PHOTOS]]
    target.mkdir(parents=True)
    names = [f"{number:03}{path.suffix.lower()}" for number, path in enumerate(chosen)]
    for name, path in zip(names, chosen, strict=True):
        shutil.copyfile(path, target / name)
    table = [{"name": name, "kind": "photo", "of": ""} for name in names]
    originals = iter(names[:: PHOTOS // (len(NEAR) * OF_KIND + EXACT) - 1])
    for kind, (change, quality) in NEAR.items():
        for number in range(OF_KIND):
            of = next(originals)
            photo = Image.open(target / of).convert("RGB")
            name = f"near_{kind}_{number}.jpg"
            change(photo).save(target / name, quality=quality)
            table.append({"name": name, "kind": kind, "of": of})
    for number in range(EXACT):
        of = next(originals)
        name = f"exact_{number}{Path(of).suffix}"
        shutil.copyfile(target / of, target / name)
        table.append({"name": name, "kind": "exact", "of": of})
    for name, image in _odd(foreign, random):
        image.save(target / name)
        table.append({"name": name, "kind": "odd", "of": ""})
    with (target.parent / "planted.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, ("name", "kind", "of"))
        lines.writeheader()
        lines.writerows(table)
    return table


def _odd(foreign: list[Path], random: np.random.Generator) -> list[tuple[str, Image.Image]]:
    """Return a black image, a noise image, and five images of other domains."""
    noise_HW3 = random.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    odd = [("odd_black.png", Image.new("RGB", (400, 300))), ("odd_noise.png", Image.fromarray(noise_HW3))]
    if not foreign:
        return [*odd, *_drawn(random)]
    for number in range(5):
        folder = foreign[number % len(foreign)]
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
        path = files[int(random.integers(len(files)))]
        odd.append((f"odd_{folder.name}_{number}.png", Image.open(path).convert("RGB")))
    return odd


def _drawn(random: np.random.Generator) -> list[tuple[str, Image.Image]]:
    """Return synthetic images that are not photographs: text lines, a bar chart, stripes, a chessboard, a gradient."""
    page, chart = Image.new("RGB", (400, 300), "white"), Image.new("RGB", (400, 300), "white")
    pen, brush = ImageDraw.Draw(page), ImageDraw.Draw(chart)
    for line in range(18):
        for word in range(8):
            left = 20 + word * 45
            pen.rectangle((left, 15 + line * 15, left + int(random.integers(12, 40)), 20 + line * 15), fill="black")
    for bar in range(8):
        brush.rectangle((30 + bar * 45, int(random.integers(40, 220)), 60 + bar * 45, 270), fill="steelblue")
    y_HW, x_HW = np.mgrid[:300, :400]
    stripes = ((x_HW // 6) % 2 * 255).astype(np.uint8)
    board = (((x_HW // 25) + (y_HW // 25)) % 2 * 255).astype(np.uint8)
    gradient = (x_HW * 255 // 399).astype(np.uint8)
    drawn = {"page": page, "chart": chart, "stripes": Image.fromarray(stripes), "board": Image.fromarray(board)}
    return [(f"odd_{name}.png", image) for name, image in (drawn | {"gradient": Image.fromarray(gradient)}).items()]
