"""Captions of views: a change is named for exactly the images that have it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import ImageFont

from tests.augment.test_multicrop import EVERYTHING, LOCALS, PLAIN, SIZES, build, canvases, small

ON: dict[str, dict[str, Any]] = {
    "solarize": {"solarize": 0.5},
    "grayscale": {"grayscale": 0.5},
    "blur": {"blur": 0.5},
    "brightness": {"jitter": 0.5},
    "hue": {"jitter": 0.5},
    "hflip": {"hflip": 0.5},
    "rot": {"rot90": 0.5},
}


@pytest.mark.parametrize("word", ON)
def test_a_change_is_named_where_it_is_seen(word: str) -> None:
    """Options have separate random numbers, so an image differs from the one without an option where it was drawn."""
    on, without = replace(PLAIN, **ON[word]), build(PLAIN, PLAIN, small(PLAIN))
    with_it = build(on, on, small(on))
    seen, words = with_it.preview(canvases(), SIZES, step=3), with_it.describe(SIZES, step=3)
    plain = without.preview(canvases(), SIZES, step=3)
    named = np.array([[word in text for text in view] for view in words])
    changed = np.array(
        [[bool((a != b).any()) for a, b in zip(*pair, strict=True)] for pair in zip(seen, plain, strict=True)]
    )
    assert named.shape == (2 + LOCALS, len(SIZES))
    assert (named == changed).all()
    assert 0 < named.mean() < 1


def test_the_share_of_the_area() -> None:
    whole = build(*[replace(PLAIN, scale=(1.0, 1.0), ratio=(1.0, 1.0))] * 3)
    for view in whole.describe(SIZES, step=0):
        assert view[2] == "100 % of area", "a square image, a square crop"
    halves = build(*[replace(PLAIN, scale=(0.5, 0.5), ratio=(1.0, 1.0))] * 3)
    for view in halves.describe(SIZES, step=0):
        assert view[5] in ("49 % of area", "50 % of area", "48 % of area"), view[5]


def test_a_plain_crop_has_no_further_caption() -> None:
    for view in build(PLAIN, PLAIN, small(PLAIN)).describe(SIZES, step=0):
        assert all(text.count("\n") == 0 for text in view)


def test_one_channel_has_no_colour_to_change() -> None:
    grey = build(EVERYTHING, EVERYTHING, small(EVERYTHING), grey=True)
    text = "".join(text for view in grey.describe(SIZES, step=3) for text in view)
    assert "brightness" in text
    assert not any(word in text for word in ("hue", "saturation", "grayscale"))


def test_the_font_has_every_letter_of_the_captions() -> None:
    on = replace(PLAIN, **{key: value for options in ON.values() for key, value in options.items()})
    words = "".join(text for view in build(on, on, small(on)).describe(SIZES, step=3) for text in view)
    font = ImageFont.load_default(12)
    missing = bytes(font.getmask("\u2603"))
    assert "brightness x" in words
    assert not [letter for letter in set(words) - set(" \n") if bytes(font.getmask(letter)) == missing]
