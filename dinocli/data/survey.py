"""A look at a sample of the dataset: depth, colour, sizes, and the range that follows from them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.data.decode import read_native
from dinocli.data.parallel import in_order, thread_count
from dinocli.data.pixels import Pixels, full_range
from dinocli.data.ranges import MEASURED, Range, parse_range
from dinocli.data.sources import ImageList
from dinocli.errors import DataError

_HEADROOM = 0.1
"""Share of the measured span added at both ends under ``auto``: defects may be hotter or darker than any sample."""

_CHROMA = 2
"""Largest difference of the channels, in levels of 255, that JPEG leaves in a grey image."""

_COLOURED = 0.001
"""Share of the pixels that may still differ more: at sharp edges compression leaves more colour."""

_VALUES = 1 << 16
"""Most pixel values kept of one sampled image, for percentiles."""


@dataclass(frozen=True)
class Survey:
    """What a sample of a dataset looks like, and the range that follows.

    Args:
        policy: As in `Preprocess.range_policy`; ``auto`` on 8-bit images has become ``full``.
        low: Source value that becomes 0.
        high: Source value that becomes 1.
        deep: Some image has more than 8 bits.
        grey: No image has colour.
        dtypes: Number of sampled images of each dtype.
        median_size: (h, w), pixels, each the median by itself.
        max_size: (h, w), pixels, likewise.
        sampled: Images that were read.
        bad: Names of sampled images that could not be read, with the reason.
        notes: Sentences for the user.
    """

    policy: str
    low: float
    high: float
    deep: bool
    grey: bool
    dtypes: dict[str, int]
    median_size: tuple[int, int]
    max_size: tuple[int, int]
    sampled: int
    bad: list[tuple[str, str]]
    notes: list[str]


@dataclass(frozen=True)
class _Look:
    """One sampled image. ``values`` holds every k-th finite pixel; (low, high) are exact."""

    dtype: np.dtype[Any]
    size: tuple[int, int]
    grey: bool
    low: float
    high: float
    values: NDArray[np.float64]


def survey(
    images: ImageList, *, range_spec: str, channels: Sequence[int], page: int, sample: int = 256, seed: int = 0
) -> Survey:
    """Look at a fixed sample of the images and decide on the range.

    The images are read whole, not shrunk: shrinking would hide the single hot pixels that the range must not clip.

    Args:
        images: The dataset.
        range_spec: See `parse_range`.
        channels: Source channels, as in `read_native`.
        page: Likewise.
        sample: Images to look at; all of them if there are fewer.
        seed: Of the choice of the sample.

    Raises:
        UsageError: A range that makes no sense.
        DataError: No sampled image can be read, or 8-bit and deeper ones are mixed and the range is to be measured.
    """
    wanted = parse_range(range_spec)
    rows = np.random.default_rng(seed).choice(len(images), min(sample, len(images)), replace=False)
    paths = (images.path(row) for row in rows)
    results = list(in_order(lambda path: _look(path, page, tuple(channels)), paths, thread_count("auto")))
    looks = [result for result in results if isinstance(result, _Look)]
    bad = [(images.names[row], result) for row, result in zip(rows, results, strict=True) if isinstance(result, str)]
    if not looks:
        raise DataError(f"none of {len(rows)} sampled images can be read: {bad[0][0]}: {bad[0][1]}")
    deep = any(look.dtype != np.uint8 for look in looks)
    if deep and wanted.policy in MEASURED and any(look.dtype == np.uint8 for look in looks):
        raise DataError("8-bit and deeper images are mixed, no measured range fits both; use --range full")
    policy, low, high = _decide(wanted, looks, deep)
    heights, widths = np.array([look.size for look in looks]).T
    return Survey(
        policy=policy,
        low=low,
        high=high,
        deep=deep,
        grey=all(look.grey for look in looks),
        dtypes=dict(Counter(str(look.dtype) for look in looks)),
        median_size=(int(np.median(heights)), int(np.median(widths))),
        max_size=(int(heights.max()), int(widths.max())),
        sampled=len(looks),
        bad=bad,
        notes=_notes(wanted, looks, deep, low, high),
    )


def _look(path: str, page: int, channels: tuple[int, ...]) -> _Look | str:
    try:
        pixels = read_native(path, page=page, channels=channels)
    except DataError as error:
        return str(error)
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels.reshape(-1)
    if not finite.size:
        return "no pixel has a finite value"
    values = finite[:: max(1, finite.size // _VALUES)].astype(np.float64)
    return _Look(pixels.dtype, pixels.shape[:2], _is_grey(pixels), float(finite.min()), float(finite.max()), values)


def _is_grey(pixels: Pixels) -> bool:
    if pixels.shape[-1] != 3:
        return bool(pixels.shape[-1] == 1)
    red, green, blue = (pixels[..., channel] for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    coloured = np.count_nonzero(spread > _CHROMA / 255 * full_range(pixels.dtype)[1])
    return int(coloured) <= _COLOURED * spread.size


def _decide(wanted: Range, looks: list[_Look], deep: bool) -> tuple[str, float, float]:
    """Return the policy's name for the record, and the range."""
    low, high = min(look.low for look in looks), max(look.high for look in looks)
    if wanted.policy == "full" or (wanted.policy == "auto" and not deep):
        return ("full", *full_range(looks[0].dtype))
    if wanted.policy == "window":
        level, width = wanted.values
        return "window", level - width / 2, level + width / 2
    if wanted.policy == "fixed":
        return ("fixed", wanted.values[0], wanted.values[1])
    if wanted.policy == "percentile":
        low, high = np.percentile(np.concatenate([look.values for look in looks]), wanted.values).tolist()
    elif wanted.policy == "auto":
        low, high = _with_headroom(low, high, looks[0].dtype)
    if high <= low:
        raise DataError(f"all sampled pixels are {low:g}; give the range yourself: --range fixed:LOW,HIGH")
    return wanted.policy, low, high


def _with_headroom(low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Widen a measured range, for integers within the bits that the detector seems to have."""
    room = _HEADROOM * (high - low)
    if dtype.kind != "u":
        return low - room, high + room
    return max(0.0, float(np.floor(low - room))), min(2.0 ** _bits(high) - 1, float(np.ceil(high + room)))


def _bits(high: float) -> int:
    return max(1, int(high).bit_length())


def _notes(wanted: Range, looks: list[_Look], deep: bool, low: float, high: float) -> list[str]:
    """Say what the range is where it was measured, and where it may disappoint."""
    if not deep or wanted.policy == "full":
        return []
    first, top = looks[0].dtype, max(look.high for look in looks)
    data = f"{first} data"
    if first == np.uint16:
        data = f"{_bits(top)}-bit data in 16-bit files"
    notes = [f"{data}: range {low:g} to {high:g}"]
    inner = np.percentile(np.concatenate([look.values for look in looks]), (0.1, 99.9))
    if wanted.policy in ("auto", "minmax") and np.ptp(inner) < 0.25 * (high - low):
        notes.append(
            f"99.8 % of the pixels lie between {inner[0]:g} and {inner[1]:g}, a small part of the range; "
            "--range percentile:0.1,99.9 gives more contrast and clips the rest"
        )
    return notes
