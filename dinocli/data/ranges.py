"""Intensity range: the source values that become black and white, one decision for a whole dataset.

A range per image would show every image at its best and make a dark image equal to a bright one; a fixed 16-bit range
would show a 12-bit detector as black. So a fixed sample of the folder is measured once, and what was decided is
stored with the weights. Where exposures differ and brightness means nothing, ``image`` gives each its own range.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dinocli.config.preprocess import Preprocess
from dinocli.data.pixels import Mask, Pixels, full_range
from dinocli.errors import DataError, UsageError

MEASURED = ("auto", "minmax", "percentile")
"""Policies whose range is measured on images of one kind, and fits no other."""

PER_IMAGE = "image"
"""Policy under which each image has its own range."""

_BLOCK = 2**20  # samples that are mapped at once: what they need in float stays in the processor's cache
_VALUES = 2**18  # samples of an image that its percentiles are taken from, at least, evenly spread


@dataclass(frozen=True)
class Range:
    """A parsed ``--range``.

    Args:
        policy: auto, full, minmax, percentile, image, window or fixed.
        values: The two numbers of the last four, else empty.
    """

    policy: str
    values: tuple[float, ...] = ()


def parse_range(spec: str) -> Range:
    """Parse ``auto | full | minmax``, ``percentile:LOW,HIGH | image:LOW,HIGH | window:LEVEL,WIDTH | fixed:LOW,HIGH``.

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
        PER_IMAGE: 0 <= first < second <= 100,
        "window": bool(np.isfinite(first)) and 0 < second < np.inf,
        "fixed": -np.inf < first < second < np.inf,
    }
    if policy not in checks:
        known = "auto, full, minmax, percentile:LOW,HIGH, image:LOW,HIGH, window:LEVEL,WIDTH, fixed:LOW,HIGH"
        raise UsageError(f"--range {spec!r} is not known; use one of {known}")
    if not checks[policy]:
        rule = {"window": "WIDTH > 0", "fixed": "LOW < HIGH"}.get(policy, "0 <= LOW < HIGH <= 100")
        raise UsageError(f"--range {spec!r} is not a range; {policy} needs {rule}")
    return Range(policy, (first, second))


def depth_kind(dtype: np.dtype[Any]) -> str:
    """Return what images must share to share a measured range: ``8-bit``, ``deep integer`` or ``float``."""
    return "8-bit" if dtype == np.uint8 else "deep integer" if dtype.kind in "iu" else "float"


def check_depth_kind(dtype: np.dtype[Any], preprocess: Preprocess) -> None:
    """Raise a `DataError` for an image that a measured range does not fit: its values have another scale."""
    source = preprocess.source
    if not source and preprocess.deep and preprocess.range_policy in MEASURED and dtype == np.uint8:
        source = "deeper"  # a record of older versions, which kept no kind
    if source not in ("", depth_kind(dtype)):
        raise DataError(f"{dtype} image among {source} ones; leave it out, or read all of them with --range full")


def map_range(pixels: Pixels, preprocess: Preprocess, missing: Mask | None = None) -> Pixels:
    """Map source values to canvas values: low to 0, high to 255 (65535 if deep), clipped and rounded.

    Values that are not finite, and nodata, become 0, so that gaps are black instead of undefined.

    Args:
        pixels: (h, w, c), any real dtype.
        preprocess: Its range and depth; policy ``full`` takes the range of the dtype at hand, ``image`` percentiles of
            the image at hand: of each channel where they were chosen, else of all, which keeps colours.
        missing: Samples that are nodata.

    Returns:
        Same shape, uint8, or uint16 if deep.
    """
    target, top = (np.uint16, 65535.0) if preprocess.deep else (np.uint8, 255.0)
    low: Any = preprocess.range_low
    high: Any = preprocess.range_high
    if preprocess.range_policy == "full":
        low, high = full_range(pixels.dtype)
    if preprocess.range_policy == PER_IMAGE:
        low, high = _own_range(pixels, preprocess, missing)
    elif pixels.dtype == target and (low, high) == (0, top):
        return pixels if missing is None else np.where(missing, target(0), pixels)
    mapped = np.empty(pixels.shape, target)
    rows = max(1, _BLOCK * len(pixels) // max(1, pixels.size))
    for start in range(0, len(pixels), rows):
        mapped[start : start + rows] = _scaled(pixels[start : start + rows], low, high, top)
    if missing is not None:
        mapped[missing] = 0
    return mapped


def _scaled(pixels: Pixels, low: Any, high: Any, top: float) -> Pixels:
    """Map some rows, still in float."""
    # float32 holds every 16-bit integer; wider integers and doubles need more.
    wide = pixels.dtype.itemsize > 2 and pixels.dtype != np.float32
    scaled: Pixels = pixels.astype(np.float64 if wide else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # fill values at the end of the dtype; they are clipped
        scaled -= low
        scaled *= top / (high - low)
    if pixels.dtype.kind == "f":
        scaled[~np.isfinite(pixels) | np.isnan(scaled)] = 0
    return np.rint(np.clip(scaled, 0, top, out=scaled), out=scaled)


def _own_range(pixels: Pixels, preprocess: Preprocess, missing: Mask | None) -> tuple[Pixels, Pixels]:
    """Return low and high of one image, of one value, or of one a channel."""
    step = pixels.size // _VALUES | 1  # odd: an even one would meet the same few columns again and again
    samples = pixels.reshape(-1, pixels.shape[-1])[::step]
    valid = np.isfinite(samples)
    if missing is not None:
        valid &= ~missing.reshape(-1, pixels.shape[-1])[::step]
    ranges = []
    for part in range(pixels.shape[-1]) if preprocess.channels else [slice(None)]:
        values = samples[:, part][valid[:, part]]
        percentiles = (preprocess.range_low, preprocess.range_high)
        low, high = np.percentile(values.astype(np.float64), percentiles) if values.size else (0.0, 1.0)
        ranges.append((low, high if high > low else low + 1))
    lows, highs = np.array(ranges).T
    return lows, highs
