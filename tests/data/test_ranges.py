"""Intensity ranges: parsing, and mapping of source values to canvas values."""

import numpy as np
import pytest

from dinocli.data.ranges import Range, map_range, parse_range
from dinocli.errors import UsageError
from tests.data.files import settings


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("auto", Range("auto")),
        ("full", Range("full")),
        ("minmax", Range("minmax")),
        ("percentile:0.5,99.5", Range("percentile", (0.5, 99.5))),
        ("image:1,99", Range("image", (1, 99))),
        ("window:-600,1500", Range("window", (-600, 1500))),
        ("fixed:0,4095", Range("fixed", (0, 4095))),
    ],
)
def test_every_policy_is_parsed(spec: str, expected: Range) -> None:
    assert parse_range(spec) == expected


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("", "use one of auto, full"),
        ("Full", "use one of"),
        ("auto:1,2", "use one of"),
        ("fixed", "use one of"),
        ("fixed:1", "use one of"),
        ("fixed:1,2,3", "use one of"),
        ("fixed:a,b", "use one of"),
        ("fixed:5,5", "LOW < HIGH"),
        ("fixed:0,inf", "LOW < HIGH"),
        ("fixed:nan,1", "LOW < HIGH"),
        ("percentile:99,1", "0 <= LOW < HIGH <= 100"),
        ("percentile:0,101", "0 <= LOW < HIGH <= 100"),
        ("image:5,5", "0 <= LOW < HIGH <= 100"),
        ("image", "use one of"),
        ("window:5,0", "WIDTH > 0"),
        ("window:nan,1", "WIDTH > 0"),
    ],
)
def test_invalid_range_is_refused_with_the_syntax(spec: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        parse_range(spec)


@pytest.mark.parametrize(("deep", "top"), [(False, 255), (True, 65535)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_range_maps_low_middle_high_and_clips(dtype: str, *, deep: bool, top: int) -> None:
    about = settings(range_policy="fixed", range_low=20, range_high=100, deep=deep)
    mapped = map_range(np.array([0, 20, 60, 100, 120], dtype), about)
    assert mapped.dtype == (np.uint16 if deep else np.uint8)
    assert mapped.tolist() == [0, 0, round(top / 2), top, top]


@pytest.mark.parametrize(
    ("dtype", "black", "white"),
    [("uint8", 0, 255), ("uint16", 0, 65535), ("int16", -32768, 32767), ("float32", 0, 1), ("uint32", 0, 2**32 - 1)],
)
def test_full_uses_the_range_of_each_dtype(dtype: str, black: float, white: float) -> None:
    mapped = map_range(np.array([black, white], dtype), settings(deep=True, range_low=5, range_high=6))
    assert mapped.tolist() == [0, 65535]


def test_non_finite_values_become_black() -> None:
    pixels = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    assert map_range(pixels, settings(range_policy="fixed", range_low=-1, range_high=1)).tolist() == [0, 0, 0, 255]


def test_deep_mapping_preserves_all_16_bit_levels() -> None:
    levels = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(map_range(levels, settings(deep=True)), levels)
    measured = settings(range_policy="auto", range_low=0, range_high=4095, deep=True)
    assert np.unique(map_range(levels[:4096], measured)).size == 4096


def test_mapping_does_not_modify_its_input() -> None:
    pixels = np.array([1.0, 2.0], np.float32)
    map_range(pixels, settings(range_policy="fixed", range_low=0, range_high=2))
    assert pixels.tolist() == [1, 2]


def test_image_policy_uses_percentiles_of_each_image() -> None:
    about = settings(range_policy="image", range_low=0, range_high=100)
    dark, bright = (np.linspace(low, low + 100, 101)[None, :, None] for low in (0, 5000))
    assert np.array_equal(map_range(dark, about), map_range(bright, about))
    assert map_range(dark, about)[0, [0, 20, 100], 0].tolist() == [0, 51, 255]
    half = settings(range_policy="image", range_low=25, range_high=75)
    assert map_range(dark, half)[0, [0, 25, 75, 100], 0].tolist() == [0, 0, 255, 255]


def test_image_policy_keeps_colours_unless_channels_are_selected() -> None:
    pixels = np.stack([np.linspace(0, 1000, 9), np.linspace(0, 10, 9), np.full(9, 5.0)], axis=-1)[None]
    about = {"range_policy": "image", "range_low": 0, "range_high": 100}
    together = map_range(pixels, settings(**about))
    assert together[0, -1].tolist() == [255, 3, 1]
    each = map_range(pixels, settings(**about, channels=(0, 1, 2)))
    assert each[0, -1].tolist() == [255, 255, 0]


def test_image_policy_ignores_nodata() -> None:
    pixels = np.array([[[np.nan], [-9999.0], [10.0], [20.0]]])
    about = settings(range_policy="image", range_low=0, range_high=100)
    assert map_range(pixels, about, pixels == -9999)[0, :, 0].tolist() == [0, 0, 0, 255]
    assert map_range(np.full((2, 2, 1), np.nan), about).tolist() == [[[0], [0]], [[0], [0]]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("policy", ["full", "fixed"])
def test_nodata_becomes_black(dtype: str, policy: str) -> None:
    pixels = np.array([[[1], [200]]], dtype)
    about = settings(range_policy=policy, range_low=0, range_high=255, deep=dtype != "uint8")
    mapped = map_range(pixels, about, pixels == 200)
    assert mapped[0, 1, 0] == 0
    assert pixels[0, 1, 0] == 200
    assert mapped[0, 0, 0] == map_range(pixels, about)[0, 0, 0]


@pytest.mark.parametrize("fill", [-3.4028235e38, 3.4028235e38, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.7e38, 3.7e38), (-1.7e308, 1.7e308)])
def test_float_fill_values_cause_no_warning(fill: float, low: float, high: float) -> None:
    for dtype in (np.float32, np.float64):
        pixels = np.array([[[fill], [0.5]]], dtype)
        assert map_range(pixels, settings(range_policy="auto", range_low=low, range_high=high)).dtype == np.uint8


def test_mapping_in_blocks_equals_mapping_at_once() -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (1500, 1000, 1)).astype(np.uint16)
    about = settings(range_policy="fixed", range_low=100, range_high=60_000, deep=True)
    expected = np.rint(np.clip((pixels.astype(np.float32) - 100) * np.float32(65535 / 59_900), 0, 65535))
    assert np.array_equal(map_range(pixels, about), expected.astype(np.uint16))
