from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy import ndimage

from dinocli.quality.aligned_similarity import aligned_similarity, structure


def scene(seed: int) -> Image.Image:
    """Draw soft blobs of several sizes, similar to the spectrum of photographs."""
    random = np.random.default_rng(seed)
    layers = [ndimage.gaussian_filter(random.normal(size=(160, 200, 3)), (s, s, 0)) * s for s in (2, 4, 9)]
    pixels = sum(layers) + np.zeros((160, 200, 3))
    return Image.fromarray(((pixels - pixels.min()) / np.ptp(pixels) * 255).astype(np.uint8))


def likeness(one: Image.Image, other: Image.Image) -> float:
    return aligned_similarity(structure(np.asarray(one)), structure(np.asarray(other)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "itself": lambda image: image,
    "crop": lambda image: image.crop((17, 13, 183, 147)),
    "bright": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "half": lambda image: image.resize((100, 80)),
    "turn": lambda image: image.rotate(3, Image.Resampling.BICUBIC),
    "grey": lambda image: image.convert("L"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_similar(change: str) -> None:
    image = scene(0)
    assert likeness(image, CHANGES[change](image)) > 0.85


def test_other_scenes_are_not() -> None:
    assert max(likeness(scene(seed), scene(seed + 10)) for seed in range(4)) < 0.65


@pytest.mark.parametrize("flat", [np.zeros((90, 90, 3), np.uint8), np.full((40, 300), 200, np.uint8)])
def test_an_image_without_structure_is_like_nothing(flat: NDArray[np.uint8]) -> None:
    assert aligned_similarity(structure(flat), structure(np.asarray(scene(0)))) == 0
    assert aligned_similarity(structure(flat), structure(flat)) == 0
