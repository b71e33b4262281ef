import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance

from dinocli.quality.aligned_similarity import structure
from dinocli.quality.partial_copies import (
    CODES,
    MAX_USUAL,
    MIN_SIMILARITY,
    NO_CODE,
    block_codes,
    block_similarity,
    equal_codes,
)
from tests.quality.test_aligned_similarity import scene


def covered(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    copy = image.copy()
    left, top, right, bottom = (part * side for part, side in zip(box, (*image.size, *image.size), strict=True))
    ImageDraw.Draw(copy).rectangle((left, top, right, bottom), fill=(20, 20, 20))
    return copy


def saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


COVERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "strip": lambda image: covered(image, (0, 0.7, 1, 0.82)),
    "strip at the centre, saved with loss": lambda image: saved(covered(image, (0, 0.42, 1, 0.55)), 60),
    "corner, half size": lambda image: covered(image, (0.6, 0, 1, 0.4)).resize((100, 80)),
    "label, brighter": lambda image: ImageEnhance.Brightness(covered(image, (0.3, 0.4, 0.7, 0.6))).enhance(1.2),
}


def described(images: list[Image.Image]) -> list[NDArray[np.float32]]:
    return [structure(np.asarray(image)) for image in images]


@pytest.mark.parametrize("change", COVERED)
def test_a_copy_with_a_covered_part_is_found_among_other_images(change: str) -> None:
    images = described([*(scene(seed) for seed in range(12)), COVERED[change](scene(3))])
    pairs_P2 = equal_codes(np.stack([block_codes(image) for image in images]))
    assert pairs_P2.tolist()[0] == [3, 12]
    assert block_similarity(images[3], images[12]) >= MIN_SIMILARITY


def test_other_scenes_are_not_equal_in_most_blocks() -> None:
    images = described([scene(seed) for seed in range(12)])
    assert not len(equal_codes(np.stack([block_codes(image) for image in images])))
    assert max(block_similarity(images[0], image) for image in images[1:]) < MAX_USUAL


def test_codes_that_many_images_have_are_those_of_a_background() -> None:
    codes_NT = np.arange(9 * CODES).reshape(9, CODES)
    codes_NT[:, :8] = 1
    codes_NT[:2, 12:15] = 3
    assert equal_codes(codes_NT).tolist() == [[0, 1]]
    codes_NT[:2, 12:15] = [[4], [5]]
    assert not len(equal_codes(codes_NT))


def test_images_without_enough_structure_are_equal_to_nothing() -> None:
    """A straight edge fits another straight edge, and a flat image everything."""
    edges = [np.zeros((96, 96), np.uint8) for _ in range(2)]
    edges[0][:, 40:], edges[1][:, 40:] = 200, 220
    one, other = (structure(edge) for edge in edges)
    assert block_similarity(one, other) == 0
    flat = structure(np.full((1, 1, 3), 200, np.uint8))
    assert block_codes(flat).tolist() == [NO_CODE] * CODES
    assert block_similarity(flat, flat) == 0


def test_a_crop_of_another_shape_is_left_to_the_aligned_comparison() -> None:
    image = scene(0)
    first, second = described([image, image.crop((0, 0, 200, 120))])
    assert block_similarity(first, second) == 0


def test_equal_codes_count_in_the_same_block_only() -> None:
    codes_NT = np.full((3, CODES), NO_CODE)
    codes_NT[0, :3] = codes_NT[1, :3] = 5, 6, 7
    codes_NT[2, 3:6] = 5, 6, 7
    assert equal_codes(codes_NT).tolist() == [[0, 1]]
