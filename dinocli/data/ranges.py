"""Which source value becomes black and which white: one decision for a whole dataset.

A range per image would show every image at its best and make a dark image equal to a bright one; a fixed 16-bit range
would show a 12-bit detector as black. So a fixed sample of the folder is looked at once, and what was decided is
stored with the weights.
"""

from dataclasses import dataclass

import numpy as np

from dinocli.config.preprocess import Preprocess
from dinocli.data.pixels import Pixels, full_range
from dinocli.errors import UsageError

MEASURED = ("auto", "minmax", "percentile")
"""Policies whose range was measured on images of one depth, and fits no other."""


@dataclass(frozen=True)
class Range:
    """A parsed ``--range``.

    Args:
        policy: auto, full, minmax, percentile, window or fixed.
        values: The two numbers of the last three, else empty.
    """

    policy: str
    values: tuple[float, ...] = ()


def parse_range(spec: str) -> Range:
    """Parse ``auto | full | minmax | percentile:LOW,HIGH | window:LEVEL,WIDTH | fixed:LOW,HIGH``.

    Raises:
        UsageError: Anything else, or numbers that leave no range.
    """
    policy, colon, rest = spec.partition(":")
    if policy in ("auto", "full", "minmax") and not colon:
        return Range(policy)
    try:
        first, second = (float(number) for number in rest.split(","))
    except ValueError:
        policy, first, second = "", 0.0, 0.0
    checks = {
        "percentile": 0 <= first < second <= 100,
        "window": bool(np.isfinite(first)) and 0 < second < np.inf,
        "fixed": -np.inf < first < second < np.inf,
    }
    if policy not in checks:
        known = "auto, full, minmax, percentile:LOW,HIGH, window:LEVEL,WIDTH, fixed:LOW,HIGH"
        raise UsageError(f"--range {spec!r} is not known; use one of {known}")
    if not checks[policy]:
        rule = {"percentile": "0 <= LOW < HIGH <= 100", "window": "WIDTH > 0", "fixed": "LOW < HIGH"}[policy]
        raise UsageError(f"--range {spec!r} is not a range; {policy} needs {rule}")
    return Range(policy, (first, second))


def map_range(pixels: Pixels, preprocess: Preprocess) -> Pixels:
    """Map source values to canvas values: low to 0, high to 255 (65535 if deep), clipped and rounded.

    Values that are not finite become 0, so that a detector's NaN gaps are black instead of undefined.

    Args:
        pixels: Any shape, any real dtype.
        preprocess: Its range and depth; policy ``full`` takes the range of the dtype at hand.

    Returns:
        Same shape, uint8, or uint16 if deep.
    """
    target, top = (np.uint16, 65535.0) if preprocess.deep else (np.uint8, 255.0)
    low, high = preprocess.range_low, preprocess.range_high
    if preprocess.range_policy == "full":
        low, high = full_range(pixels.dtype)
    if pixels.dtype == target and (low, high) == (0, top):
        return pixels
    # float32 holds every 16-bit integer; wider integers and doubles need more.
    wide = pixels.dtype.itemsize > 2 and pixels.dtype != np.float32
    scaled: Pixels = pixels.astype(np.float64 if wide else np.float32)
    scaled -= low
    scaled *= top / (high - low)
    if pixels.dtype.kind == "f":
        scaled[~np.isfinite(pixels)] = 0
    np.rint(np.clip(scaled, 0, top, out=scaled), out=scaled)
    mapped: Pixels = scaled.astype(target)
    return mapped
