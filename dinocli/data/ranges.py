"""Intensity range: the source values that become black and white, the same for a whole dataset.

A range per image would make a dark image equal to a bright one; the full 16-bit range would make 12-bit data nearly
black. So the range is measured once, on a fixed sample of the dataset, and stored with the weights. Channels that are
not colours (bands, stains) are measured one by one, since each has its own unit. If exposures differ
and brightness carries no information, policy ``image`` gives each image its own range.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dinocli.config.preprocess import Preprocess
from dinocli.data.pixels import Mask, Pixels, full_range
from dinocli.data.spread import spread
from dinocli.errors import DataError, UsageError

MEASURED = ("auto", "minmax", "percentile")
"""Policies whose range is measured on images of one depth kind, and does not fit others."""

PER_IMAGE = "image"
"""Policy that gives each image its own range."""

_BLOCK_SAMPLES = 2**20  # samples mapped at once: their float copy stays in the CPU cache
_PERCENTILE_SAMPLES = 2**18  # at most, over all channels, for the percentiles of one image


@dataclass(frozen=True)
class Range:
    """A parsed ``--range``.

    Args:
        policy: auto, full, minmax, percentile, image, window or fixed.
        values: The two numbers of the last four policies; empty for the others.
    """

    policy: str
    values: tuple[float, ...] = ()


def parse_range(spec: str) -> Range:
    """Parse ``auto | full | minmax``, ``percentile:LOW,HIGH | image:LOW,HIGH | window:LEVEL,WIDTH | fixed:LOW,HIGH``.

    Raises:
        UsageError: Unknown policy, or invalid numbers.
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


def range_option(preprocess: Preprocess) -> str:
    """Return the value of `--range` that maps images as they were mapped; one range for all channels."""
    p = preprocess
    if p.range_policy == "full" or not p.range_low < p.range_high:  # equal: images of one value
        return "full" if p.range_policy == "full" else "auto"
    return f"{PER_IMAGE if p.range_policy == PER_IMAGE else 'fixed'}:{p.range_low!r},{p.range_high!r}"


def depth_kind(dtype: np.dtype[Any]) -> str:
    """Return ``8-bit``, ``deep integer`` or ``float``; a measured range fits images of one kind only."""
    return "8-bit" if dtype == np.uint8 else "deep integer" if dtype.kind in "iu" else "float"


def check_depth_kind(dtype: np.dtype[Any], preprocess: Preprocess) -> None:
    """Raise `DataError` for an image of another depth kind than the measured range."""
    source = preprocess.source
    if not source and preprocess.deep and preprocess.range_policy in MEASURED and dtype == np.uint8:
        source = "deeper"  # the record has no kind
    if source not in ("", depth_kind(dtype)):
        ways = "leave it out, convert it, or begin again with one range: --range full, in Python `preprocess` of `load`"
        raise DataError(f"{dtype} image among {source} ones; {ways}")


def map_range(pixels: Pixels, preprocess: Preprocess, missing: Mask | None = None) -> Pixels:
    """Map source values linearly to canvas values: low to 0, high to 255 (65535 if deep), clipped and rounded.

    Nodata and values that are not finite become 0.

    Args:
        pixels: (h, w, c), any real dtype.
        preprocess: Range and depth. Policy ``full`` uses the range of the dtype, ``image`` the percentiles of this
            image: per channel if channels were selected, else over all channels, which preserves colours.
        missing: (h, w, c), nodata samples.

    Returns:
        Same shape, uint8, or uint16 if deep.
    """
    target, top = (np.uint16, 65535.0) if preprocess.deep else (np.uint8, 255.0)
    low: Any = preprocess.range_low
    high: Any = preprocess.range_high
    if preprocess.range_policy == "full":
        low, high = full_range(pixels.dtype)
    if preprocess.channel_ranges:
        low, high = _channel_ranges(pixels, preprocess)
    if preprocess.range_policy == PER_IMAGE:
        low, high = _image_range(pixels, preprocess, missing)
    elif pixels.dtype == target and not preprocess.channel_ranges and (low, high) == (0, top):
        return pixels if missing is None else np.where(missing, target(0), pixels)
    mapped = np.empty(pixels.shape, target)
    rows = max(1, _BLOCK_SAMPLES * len(pixels) // max(1, pixels.size))
    for start in range(0, len(pixels), rows):
        mapped[start : start + rows] = _scaled(pixels[start : start + rows], low, high, top)
    if missing is not None:
        mapped[missing] = 0
    return mapped


def _scaled(pixels: Pixels, low: Any, high: Any, top: float) -> Pixels:
    """Map values to 0 to `top`, rounded, in floating point."""
    # float32 represents every 16-bit integer; wider integers and float64 need float64.
    needs_float64 = pixels.dtype.itemsize > 2 and pixels.dtype != np.float32
    scaled: Pixels = pixels.astype(np.float64 if needs_float64 else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # fill values at the limit of the dtype overflow; clipped below
        scaled -= low
        scaled *= top / (high - low)
    if pixels.dtype.kind == "f":
        scaled[~np.isfinite(pixels) | np.isnan(scaled)] = 0
    return np.rint(np.clip(scaled, 0, top, out=scaled), out=scaled)


def _channel_ranges(pixels: Pixels, preprocess: Preprocess) -> tuple[Pixels, Pixels]:
    """Return low and high of each channel, as measured."""
    count, measured = pixels.shape[-1], len(preprocess.channel_ranges)
    if count != measured:
        raise DataError(
            f"{count} channel{'s' * (count > 1)}, and {measured} were measured: select them with --channels"
        )
    lows, highs = np.array(preprocess.channel_ranges).T
    return lows, highs


def _image_range(pixels: Pixels, preprocess: Preprocess, missing: Mask | None) -> tuple[Pixels, Pixels]:
    """Return low and high of one image: arrays of one value, or one per selected channel."""
    channels = pixels.shape[-1]
    samples = spread(pixels.reshape(-1, channels), _PERCENTILE_SAMPLES // channels)
    valid = np.isfinite(samples)
    if missing is not None:
        valid &= ~spread(missing.reshape(-1, channels), _PERCENTILE_SAMPLES // channels)
    ranges = []
    for channel in range(channels) if preprocess.channels else [slice(None)]:
        values = samples[:, channel][valid[:, channel]]
        percentiles = (preprocess.range_low, preprocess.range_high)
        low, high = np.percentile(values.astype(np.float64), percentiles) if values.size else (0.0, 1.0)
        ranges.append((low, high if high > low else low + 1))
    lows, highs = np.array(ranges).T
    return lows, highs
