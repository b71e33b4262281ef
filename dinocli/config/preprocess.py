"""Preprocessing: how file values become network input. One frozen record, stored with the weights.

Training, embedding and segmentation read images by this record alone, so that pixels match the weights.
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pydantic import TypeAdapter

from dinocli.errors import UsageError
from dinocli.stored import reading

Channels = tuple[int | str, ...]
"""Source channels: indices from 0, names in the file, or `PAGES` alone. Empty: all channels of a grey or RGB image."""

PAGES: Channels = ("page",)
"""Each page of the file is one channel."""

GREY_OR_RGB = (1, 3)
"""Channel counts of grey and RGB images; images of other counts hold several measurements."""

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey value of a colour image (ITU-R BT.601)."""

MAX_CHANNELS = 512
"""Most channels of an image; a hyperspectral cube with more needs a PCA first."""

STORED_READING = ("--range", "--channels", "--page", "--nodata", "--z", "--roi")
"""Options that feature files and detectors store, so that others are refused: how an image becomes values."""


def parse_channels(text: str) -> Channels:
    """Parse ``--channels``: ``0,2,3``, ``page``, or names such as ``C:DAPI,C:GFP``; numbers and names may be mixed.

    Raises:
        UsageError: An item is empty or negative, or ``page`` is not alone.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(parts) or any(part[0] == "-" and part[1:].isdigit() for part in parts):
        raise UsageError(f"--channels {text!r}: write numbers from 0 (0,2,3), names (C:DAPI,C:GFP), or page")
    if "page" in parts and len(parts) > 1:
        raise UsageError(f"--channels {text!r}: page takes all pages; for some of them write their numbers, as 0,2,3")
    return tuple(int(part) if part.isascii() and part.isdigit() else part for part in parts)


def parse_z(text: str) -> str:
    """Check ``--z``: ``max``, ``mean``, the number of a plane from 0, or empty.

    Raises:
        UsageError: The value is none of these.
    """
    if text in ("", "max", "mean") or (text.isascii() and text.isdigit() and len(text) < 6):
        return text
    raise UsageError(f"--z {text!r}: write max, mean, or the number of a plane from 0")


MAX_SIZE = 1 << 16
"""Largest plausible input side (pixels) and page number: a stored record with more is damaged."""


@dataclass(frozen=True)
class Preprocess:
    """Reading and normalisation of one dataset for one backbone.

    Args:
        range_policy: Origin of the range. ``full``: the full range of each file's dtype (floats: 0 to 1); ``range_low``
            and ``range_high`` are unused. ``image``: percentiles of each file, and these two are the percentages. Other
            policies are stored for information only.
        range_low: Source value that becomes 0.
        range_high: Source value that becomes 1; values outside are clipped.
        deep: Sources have more than 8 bits, so that canvases are uint16 instead of uint8.
        grey: Canvases have one channel, which is repeated for the backbone.
        channels: Source channels to read; empty: all of a 1- or 3-channel image.
        page: Page of a multi-page file, from 0; with `z`, the index along the axes other than channels and z.
        mean: Mean of the normalisation, on the 0 to 1 scale, for each input channel of the backbone; its length defines
            their number.
        std: Standard deviation of the normalisation, for each input channel.
        size: Side of the square input in evaluation, pixels.
        interpolation: Interpolation of the resize to that square.
        nodata: Source values without measurement, besides NaN and each file's GDAL_NODATA tag; they become 0.
        alpha: ``white`` composites images with alpha over white, ``ignore`` drops alpha.
        source: Kind of images the range was measured on: ``8-bit``, ``deep integer`` or ``float``; other kinds are
            rejected. Empty: all kinds.
        z: Reduction of z-stacks: ``max``, ``mean`` or the number of a plane; empty: pages, no axes.
        roi: Region of interest, as `dinocli.data.region_of_interest` records it; empty: whole images.
        channel_ranges: Source values that become 0 and 1 in each channel, if they were measured for each; the other two
            then span them all. Empty: one range for all channels.
    """

    range_policy: str
    range_low: float
    range_high: float
    deep: bool
    grey: bool
    channels: Channels
    page: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    interpolation: str = "bicubic"
    nodata: tuple[float, ...] = ()
    alpha: str = "white"
    source: str = ""
    z: str = ""
    roi: str = ""
    channel_ranges: tuple[tuple[float, float], ...] = ()

    @property
    def in_chans(self) -> int:
        """Channels of the backbone's input: 3 for grey and RGB images."""
        return len(self.mean)

    @property
    def canvas_channels(self) -> int:
        """Channels of a canvas, C: 1 for grey datasets, else `in_chans`."""
        return 1 if self.grey else self.in_chans

    def describe_range(self) -> str:
        """Describe the intensity range: `minmax (120 to 4095)`."""
        return range_text(self.range_policy, self.range_low, self.range_high)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data for `from_dict`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Preprocess":
        """Build the record from `to_dict` data; unknown keys are ignored.

        Raises:
            WeightsError: A key is missing, or a value is invalid.
        """
        with reading("the stored preprocessing", "train or embed again, or give weights that have none"):
            names = {field.name for field in fields(cls)}
            values = {key: value for key, value in data.items() if key in names}
            preprocess = _validator().validate_json(json.dumps(values), strict=True)  # JSON lists validate as tuples
            preprocess._check()
        return preprocess

    def _check(self) -> None:
        """Raise `ValueError` if no image can be read with these values."""
        ends = [end for both in self.channel_ranges for end in both]
        numbers = (*self.mean, *self.std, self.range_low, self.range_high, *ends)
        if not all(map(math.isfinite, numbers)) or min(self.std) <= 0:
            raise ValueError(f"mean {self.mean}, std {self.std}, range {self.range_low} to {self.range_high}")
        if not len(self.mean) == len(self.std) <= MAX_CHANNELS:
            raise ValueError(f"a mean of {len(self.mean)} channels and a standard deviation of {len(self.std)}")
        if len(self.channel_ranges) not in (0, self.canvas_channels) or any(a >= b for a, b in self.channel_ranges):
            raise ValueError(f"ranges {self.channel_ranges} of {self.canvas_channels} channels")
        if self.range_low > self.range_high:
            raise ValueError(f"a range from {self.range_low} to {self.range_high}")
        if not 1 <= self.size <= MAX_SIZE or not 0 <= self.page <= MAX_SIZE:
            raise ValueError(f"size {self.size}, page {self.page}")
        parse_z(self.z)
        if any(isinstance(channel, int) and channel < 0 for channel in self.channels):
            raise ValueError(f"channels {self.channels}")


def first_channels(count: int) -> Channels:
    """Return the selection of the first `count` channels; empty for grey and RGB."""
    return () if count in GREY_OR_RGB else tuple(range(count))


def for_channels(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    """Extend or cut an RGB mean or standard deviation to `count` channels.

    Channels after the third, and a single channel, get the mean of the three values.
    """
    if len(values) != len("RGB") or count == len(values):
        return values
    average = sum(values) / len(values)
    return (average,) if count == 1 else (*values, *[average] * count)[:count]


@functools.cache
def _validator() -> "TypeAdapter[Preprocess]":
    return TypeAdapter(Preprocess)


def range_text(policy: str, low: float, high: float) -> str:
    """Describe an intensity range: `minmax (120 to 4095)`, or `full`."""
    return policy if policy == "full" else f"{policy} ({low:g} to {high:g})"
