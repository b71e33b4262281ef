"""Drawn images of textures and parts with defects, for `mask_sets.py`.

A defect is a spot, a scratch or a piece of another place; it is not visible on every carpet.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

Pixels = NDArray[Any]
Parts = Iterator[tuple[str, str, Pixels, Pixels | None]]
"""Folder (defective, good, reference), name, image and mask."""

Scene = tuple[Pixels, Pixels]
"""Drawn image, and where on it defects may be."""

SIDE = 288
"""Side of an image, pixels."""


def drawn(name: str, seed: int) -> Parts:
    """Draw images of a kind, with a defect in the first 16."""
    for number in range(56):
        random = np.random.default_rng((seed, sorted(SCENES).index(name), number))
        image, place = SCENES[name](random, np.random.default_rng(0))
        mask = None
        if number < 16:
            image, mask = with_defect(image, place, random, kind=number % 3)
        part = "defective" if number < 16 else "good" if number < 40 else "reference"
        yield part, f"{number:03d}", np.clip(image, 0, 255).astype(np.uint8), mask


def with_defect(image: Pixels, place: Pixels, random: np.random.Generator, kind: int) -> Scene:
    """Blend a spot, a scratch or a piece of another place into an image."""
    margin = SIDE // 8
    inner = np.zeros_like(place)
    inner[margin:-margin, margin:-margin] = place[margin:-margin, margin:-margin]
    centre = random.choice(np.argwhere(inner))
    y, x = np.mgrid[:SIDE, :SIDE] - centre[:, None, None]
    turn, size, tone = random.uniform(0, 2 * np.pi), random.uniform(1, 2), random.choice((-1, 1))
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mean, contrast = image[place].mean(), max(image[place].std(), 15)
    content: Pixels = np.full_like(image, mean + tone * random.uniform(2, 3) * contrast)
    if kind == 0:
        inside = np.hypot(along, 1.5 * across) < 6 * size
    elif kind == 1:
        inside = (abs(along) < 20 * size) & (abs(across - random.uniform(-0.01, 0.01) * along**2) < 1.5 * size)
    else:
        inside = np.hypot(x, y) < 14 * size * (1 + 0.15 * np.sin(3 * np.arctan2(y, x) + turn))
        content = image.T[::-1] + tone * contrast
    share = 0.85 * gaussian_filter((inside & place).astype(float), 0.7)
    return image + share * (content - image), inside & place


def noise(random: np.random.Generator, *sigma: float) -> Pixels:
    """Return smooth noise with a standard deviation of 1."""
    smooth = gaussian_filter(random.normal(size=(SIDE, SIDE)), sigma, mode="wrap")
    unit: Pixels = smooth / smooth.std()
    return unit


def brushed(random: np.random.Generator, _: np.random.Generator) -> Scene:
    """Metal with fine lines along one direction."""
    image = 130 + 14 * noise(random, 0.6, 40) + 6 * noise(random, 40, 40) + 3 * noise(random, 0, 0)
    return image, np.ones(image.shape, np.bool_)


def woven(random: np.random.Generator, _: np.random.Generator) -> Scene:
    """Threads that cross at right angles, slightly warped."""
    y, x = np.mgrid[:SIDE, :SIDE] + 2 * np.stack([noise(random, 25, 25), noise(random, 25, 25)])
    over = np.sin(x / 4.5) * np.sin(y / 4.5 + random.uniform(0, 6)) > 0
    image = 120 + 35 * np.where(over, np.sin(x / 2.25), np.sin(y / 2.25)) + 8 * noise(random, 0, 0)
    return image, np.ones(image.shape, np.bool_)


def leather(random: np.random.Generator, _: np.random.Generator) -> Scene:
    """Cells of irregular size with dark creases."""
    points = random.uniform(-10, SIDE + 10, (1500, 2))
    nearest = cKDTree(points).query(np.argwhere(np.ones((SIDE, SIDE))), k=2)[0]
    crease = (nearest[:, 1] - nearest[:, 0]).clip(0, 4).reshape(SIDE, SIDE)
    image = 90 + 14 * gaussian_filter(crease, 0.8) + 5 * noise(random, 30, 30) + 3 * noise(random, 0, 0)
    return image, np.ones(image.shape, np.bool_)


def carpet(random: np.random.Generator, _: np.random.Generator) -> Scene:
    """Coarse irregular tufts."""
    image = 110 + 25 * noise(random, 1.5, 1.5) + 15 * noise(random, 4, 3) + 8 * noise(random, 30, 30)
    return image, np.ones(image.shape, np.bool_)


def wood(random: np.random.Generator, _: np.random.Generator) -> Scene:
    """Grain along one direction; its width and waves differ between images."""
    y, _x = np.mgrid[:SIDE, :SIDE]
    rings = np.sin(y / random.uniform(3, 8) + random.uniform(2, 5) * noise(random, 25, 90))
    image = 140 + 18 * rings + 8 * noise(random, 0.6, 20) + random.normal(0, 8)
    return image, np.ones(image.shape, np.bool_)


def plate(random: np.random.Generator, _: np.random.Generator) -> Scene:
    """A rolled plate with four holes and light that differs between images."""
    y, x = np.mgrid[:SIDE, :SIDE]
    light = 40 * np.exp(-(((x - random.uniform(0, SIDE)) / 90) ** 2)) + 10 * noise(random, 50, 50)
    image = 110 + light + 6 * noise(random, 25, 0.6) + 3 * noise(random, 0, 0)
    place = np.ones(image.shape, np.bool_)
    for centre_y, centre_x in np.ndindex(2, 2):
        far = np.hypot(y - SIDE * (0.2 + 0.6 * centre_y) - random.normal(), x - SIDE * (0.2 + 0.6 * centre_x))
        image, place = np.where(far < 14, 30, image), place & (far > 18)
    return gaussian_filter(image, 0.6), place


def washer(random: np.random.Generator, _: np.random.Generator) -> Scene:
    """A turned ring, lit from a side and slightly shifted."""
    shift = SIDE / 2 + random.normal(0, 3, (2, 1, 1))
    y, x = np.mgrid[:SIDE, :SIDE] - shift
    far, angle = np.hypot(x, y), np.arctan2(y, x)
    body = 150 + 12 * np.sin(1.3 * far + random.uniform(0, 6)) + 25 * np.cos(angle - random.normal(0.6, 0.1))
    image = np.where((far > 44) & (far < 116), body, 55)
    image = np.where((abs(far - 116) < 2) | (abs(far - 44) < 2), 205, image)
    return gaussian_filter(image, 0.8) + 5 * noise(random, 0, 0), (far > 50) & (far < 110)


def board(random: np.random.Generator, layout: np.random.Generator) -> Scene:
    """A board with the same tracks, pads and parts in all images, nearly aligned."""
    canvas = Image.new("L", (SIDE, SIDE), 70)
    pen = ImageDraw.Draw(canvas)
    for x, y, length in layout.integers(10, SIDE - 60, (24, 3)).tolist():
        end = (x + length // 3, y) if length % 2 else (x, y + length // 3)
        pen.line([(x, y), end], fill=150, width=4)
        pen.ellipse([x - 6, y - 6, x + 6, y + 6], fill=200)
    for x, y, width, height in layout.integers(24, SIDE - 70, (7, 4)).tolist():
        pen.rectangle([x, y, x + 16 + width // 6, y + 12 + height // 8], fill=30, outline=120)
    image = np.roll(np.array(canvas, float), random.integers(-1, 2, 2), axis=(0, 1))
    image = gaussian_filter(image, 0.7) * random.normal(1, 0.05) + 5 * noise(random, 40, 40) + 4 * noise(random, 0, 0)
    return image, np.ones(image.shape, np.bool_)


SCENES: dict[str, Callable[[np.random.Generator, np.random.Generator], Scene]] = {
    function.__name__: function for function in (brushed, woven, leather, carpet, wood, plate, washer, board)
}
