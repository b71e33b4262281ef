"""Ranges: what is parsed, and where black, white and everything else lands."""

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
        ("window:5,0", "WIDTH > 0"),
        ("window:nan,1", "WIDTH > 0"),
    ],
)
def test_nonsense_is_refused_with_what_to_write(spec: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        parse_range(spec)


@pytest.mark.parametrize(("deep", "top"), [(False, 255), (True, 65535)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_low_middle_high_and_beyond(dtype: str, *, deep: bool, top: int) -> None:
    about = settings(range_policy="fixed", range_low=20, range_high=100, deep=deep)
    mapped = map_range(np.array([0, 20, 60, 100, 120], dtype), about)
    assert mapped.dtype == (np.uint16 if deep else np.uint8)
    assert mapped.tolist() == [0, 0, round(top / 2), top, top]


@pytest.mark.parametrize(
    ("dtype", "black", "white"),
    [("uint8", 0, 255), ("uint16", 0, 65535), ("int16", -32768, 32767), ("float32", 0, 1), ("uint32", 0, 2**32 - 1)],
)
def test_full_takes_the_range_of_each_dtype(dtype: str, black: float, white: float) -> None:
    mapped = map_range(np.array([black, white], dtype), settings(deep=True, range_low=5, range_high=6))
    assert mapped.tolist() == [0, 65535]


def test_values_that_are_not_finite_become_black() -> None:
    pixels = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    assert map_range(pixels, settings(range_policy="fixed", range_low=-1, range_high=1)).tolist() == [0, 0, 0, 255]


def test_all_16_bit_levels_survive() -> None:
    levels = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(map_range(levels, settings(deep=True)), levels)
    measured = settings(range_policy="auto", range_low=0, range_high=4095, deep=True)
    assert np.unique(map_range(levels[:4096], measured)).size == 4096


def test_the_source_is_not_changed() -> None:
    pixels = np.array([1.0, 2.0], np.float32)
    map_range(pixels, settings(range_policy="fixed", range_low=0, range_high=2))
    assert pixels.tolist() == [1, 2]
