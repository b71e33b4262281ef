"""Preprocessing: how values of a file become network input. One frozen record, stored with the weights.

Training, embedding and segmentation read images by this record alone, so that weights and pixels always match.
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
"""Source channels: numbers from 0, names that the file gives them, or `PAGES` alone. Empty takes grey or RGB."""

PAGES: Channels = ("page",)
"""Each page of the file is one channel."""

GREY_OR_RGB = (1, 3)
"""Numbers of channels that an image of grey or of colours has; all others are measurements side by side."""

MOST_CHANNELS = 512
"""Of an image; more is a hyperspectral cube that wants a principal component analysis first."""


def parse_channels(text: str) -> Channels:
    """Read ``--channels``: ``0,2,3``, ``page``, or names such as ``C:DAPI,C:GFP``; numbers and names may be mixed.

    Raises:
        UsageError: Nothing between two commas, a negative number, or ``page`` beside others.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(parts) or any(part[0] == "-" and part[1:].isdigit() for part in parts):
        raise UsageError(f"--channels {text!r}: write numbers from 0 (0,2,3), names (C:DAPI,C:GFP), or page")
    if "page" in parts and len(parts) > 1:
        raise UsageError(f"--channels {text!r}: page takes all pages; for some of them write their numbers, as 0,2,3")
    return tuple(int(part) if part.isascii() and part.isdigit() else part for part in parts)


def parse_z(text: str) -> str:
    """Read ``--z``: ``max``, ``mean``, the number of a plane from 0, or nothing.

    Raises:
        UsageError: Anything else.
    """
    if text in ("", "max", "mean") or (text.isascii() and text.isdigit() and len(text) < 6):
        return text
    raise UsageError(f"--z {text!r}: write max, mean, or the number of a plane from 0")


MOST_PIXELS = 1 << 16
"""Of a side that a network is evaluated at, and pages of a file: a stored record that says more is damaged."""


@dataclass(frozen=True)
class Preprocess:
    """Reading and normalisation of one dataset for one backbone.

    Args:
        range_policy: What gave the range. ``full``: each file by the full range of its own dtype (floats: 0 to 1), and
            ``range_low`` and ``range_high`` are not read. ``image``: each file by its own percentiles, which those two
            then are. Any other word is kept for the record only.
        range_low: Source value that becomes 0.
        range_high: Source value that becomes 1; values outside are clipped.
        deep: The sources have more than 8 bits, so that canvases are uint16 instead of uint8.
        grey: Canvases have one channel, repeated to those of the backbone.
        channels: Source channels to read; empty means all of a 1- or 3-channel image.
        page: Page of a multi-page file, counted from 0; with `z` along the axes besides channels and z.
        mean: Of the normalisation, on the 0 to 1 scale, one for each channel of the backbone's input: their number is
            what says how many channels that has.
        std: Standard deviation of the normalisation, likewise.
        size: Side of the square that the backbone is evaluated at, pixels.
        interpolation: Of the resize to that square.
        nodata: Source values that mean "not measured", beside NaN and each file's own GDAL_NODATA tag; they become 0.
        alpha: ``white`` lays images with alpha over white, ``ignore`` leaves alpha out.
        source: What the range was measured on: ``8-bit``, ``integer`` (deeper) or ``float``; other images do not fit it
            and are refused. Empty fits all.
        z: Of stacks: ``max`` or ``mean`` along z, or the number of a plane; empty: axes are not looked at.
        roi: Region of interest, as `dinocli.data.region_of_interest` records it; empty: whole images.
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

    @property
    def in_chans(self) -> int:
        """Channels of the backbone's input: 3, unless it takes others than grey or RGB."""
        return len(self.mean)

    @property
    def canvas_channels(self) -> int:
        """Channels of a canvas, C: 1 of a grey dataset, else as many as the backbone takes."""
        return 1 if self.grey else self.in_chans

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data that `from_dict` takes back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Preprocess":
        """Build the record from `to_dict` data; unknown keys are left out.

        Raises:
            WeightsError: A key is missing, or a value is not what it can be.
        """
        with reading("the stored preprocessing", "train or embed again, or give weights that have none"):
            known = {field.name for field in fields(cls)}
            values = {key: value for key, value in data.items() if key in known}
            found = _validator().validate_json(json.dumps(values), strict=True)  # in JSON a list may be a tuple
            found._check()
        return found

    def _check(self) -> None:
        """Raise a `ValueError` for what no image can be read by."""
        numbers = (*self.mean, *self.std, self.range_low, self.range_high)
        if not all(map(math.isfinite, numbers)) or min(self.std) <= 0:
            raise ValueError(f"mean {self.mean}, std {self.std}, range {self.range_low} to {self.range_high}")
        if not len(self.mean) == len(self.std) <= MOST_CHANNELS:
            raise ValueError(f"a mean of {len(self.mean)} channels and a standard deviation of {len(self.std)}")
        if self.range_low > self.range_high:
            raise ValueError(f"a range from {self.range_low} to {self.range_high}")
        if not 1 <= self.size <= MOST_PIXELS or not 0 <= self.page <= MOST_PIXELS:
            raise ValueError(f"size {self.size}, page {self.page}")
        parse_z(self.z)
        if any(isinstance(channel, int) and channel < 0 for channel in self.channels):
            raise ValueError(f"channels {self.channels}")


def first_channels(count: int) -> Channels:
    """Return the selection that reads so many channels of a file: none is named where grey or RGB is meant."""
    return () if count in GREY_OR_RGB else tuple(range(count))


def for_channels(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    """Return a mean or a deviation of RGB for another number of channels.

    The first three are RGB's own; each further channel, and one alone, gets the mean of the three.
    """
    if len(values) != len("RGB") or count == len(values):
        return values
    between = sum(values) / len(values)
    return (between,) if count == 1 else (*values, *[between] * count)[:count]


@functools.cache
def _validator() -> "TypeAdapter[Preprocess]":
    return TypeAdapter(Preprocess)
