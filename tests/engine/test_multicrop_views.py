from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dinocli.engine.multicrop_views import MultiCropViews
from dinocli.errors import DataError, RecipeError, UsageError

SMALL = ("views.global_size=32", "views.local_size=16", "views.local_count=3")


def pictures(count: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8) for number in range(count)]


def test_views_are_view_major_and_sized_as_the_recipe_says() -> None:
    globals_, locals_ = MultiCropViews("natural", SMALL)(pictures())
    assert globals_.shape == (2 * 3, 3, 32, 32)
    assert locals_.shape == (3 * 3, 3, 16, 16)


def test_pil_arrays_tensors_and_a_batch_give_the_same_views() -> None:
    arrays = [picture[:40] for picture in pictures()]
    tensors = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
    expected = MultiCropViews("natural", SMALL)(arrays)
    for images in ([Image.fromarray(array) for array in arrays], tensors, torch.stack(tensors)):
        for found, wanted in zip(MultiCropViews("natural", SMALL)(images), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_a_step_repeats_and_steps_differ() -> None:
    views = MultiCropViews("natural", SMALL)
    first, second, again = views(pictures()), views(pictures()), views(pictures(), step=0)
    assert not torch.equal(first[0], second[0])
    torch.testing.assert_close(first[0], again[0], rtol=0, atol=0)
    assert not torch.equal(MultiCropViews("natural", SMALL, seed=1)(pictures())[0], first[0])


def test_grey_views_have_three_equal_channels() -> None:
    views = MultiCropViews("grey", SMALL, grey=True, mean=(0, 0, 0), std=(1, 1, 1))
    found = views(pictures())[0]
    torch.testing.assert_close(found[:, 0], found[:, 2], rtol=0, atol=0)


def test_deep_images_are_refused_and_unknown_recipes_named() -> None:
    with pytest.raises(DataError, match="uint16"):
        MultiCropViews("natural", SMALL)([np.zeros((40, 40), np.uint16)])
    with pytest.raises(RecipeError, match="no recipe 'gray'"):
        MultiCropViews("gray")


def test_one_image_for_a_batch_and_other_shapes_are_refused() -> None:
    views = MultiCropViews("natural", SMALL)
    others: list[Any] = [pictures()[0], [], Image.new("L", (40, 40))]
    for images in others:
        with pytest.raises(UsageError, match="give a list of images"):
            views(images)
    with pytest.raises(DataError, match=r"a torch.uint8 tensor of shape \(40, 40\) is not an image"):
        views(torch.zeros(3, 40, 40, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"a torch.bfloat16 tensor .* give uint8"):
        views(torch.zeros(2, 3, 40, 40, dtype=torch.bfloat16))
    with pytest.raises(UsageError, match="three for grey images"):
        MultiCropViews("natural", SMALL, mean=(0.5,), std=(0.2,))
