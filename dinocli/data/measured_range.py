"""The intensity range of a dataset, as given or measured on a sample of its images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.data.image_sample import ImageSample
from dinocli.data.pixels import full_range
from dinocli.data.ranges import MEASURED, PER_IMAGE, Range
from dinocli.errors import DataError

_HEADROOM = 0.1
"""Fraction of the measured range added at both ends by ``auto``: defects may be brighter or darker than any sample."""


def chosen_range(parsed: Range, samples: list[ImageSample], deep: bool) -> tuple[str, float, float]:
    """Return the policy as stored, low and high."""
    if parsed.policy == "full" or (parsed.policy == "auto" and not deep):
        return ("full", *full_range(samples[0].dtype))
    if parsed.policy == "window":
        level, width = parsed.values
        return "window", level - width / 2, level + width / 2
    if parsed.policy in ("fixed", PER_IMAGE):
        return (parsed.policy, parsed.values[0], parsed.values[1])
    ends = [(image.low, image.high) for image in samples]
    low, high = _measured(parsed, ends, [image.values for image in samples], samples[0].dtype)
    if high <= low:
        raise DataError(f"all sampled pixels are {low:g}; give the range yourself: --range fixed:LOW,HIGH")
    return parsed.policy, low, high


def _measured(
    parsed: Range, ends: list[tuple[float, float]], values: list[NDArray[np.float64]], dtype: np.dtype[Any]
) -> tuple[float, float]:
    """Measure a range by the minimum and maximum, or some values, of each image."""
    if parsed.policy == "percentile":
        low, high = np.percentile(np.concatenate(values), parsed.values).tolist()
        return low, high
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    return _with_headroom(low, high, dtype) if parsed.policy == "auto" else (low, high)


def measured_channels(parsed: Range, samples: list[ImageSample], policy: str) -> tuple[tuple[float, float], ...]:
    """Measure the range of each channel; a constant one becomes black. Empty for grey, RGB and other policies."""
    if policy not in MEASURED or not samples[0].channel_ranges:
        return ()
    ranges = []
    for channel in range(samples[0].channels):
        filled = [image for image in samples if image.channel_values[channel].size]
        ends, values = ([getattr(i, name)[channel] for i in filled] for name in ("channel_ranges", "channel_values"))
        low, high = _measured(parsed, ends, values, samples[0].dtype) if filled else (0.0, 1.0)
        ranges.append((low, high if high > low else low + 1))
    return tuple(ranges)


def _with_headroom(low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Widen a measured range; for unsigned integers at most to the bit depth of the largest value."""
    headroom = _HEADROOM * (high - low)
    if dtype.kind != "u":
        limit = float(np.finfo(np.float64).max)
        return max(low - headroom, -limit), min(high + headroom, limit)
    return max(0.0, float(np.floor(low - headroom))), min(2.0 ** bit_depth(high) - 1, float(np.ceil(high + headroom)))


def bit_depth(high: float) -> int:
    """Return the number of bits of the largest value."""
    return max(1, int(high).bit_length())
