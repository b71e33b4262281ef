"""How many channels a network has to take for the channels that are read, and what is said of them.

A network of photographs takes three, and grey is repeated to three. Any other number is one of measurements side by
side: bands of a satellite, stains of a microscope, detectors.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dinocli.config.preprocess import GREY_OR_RGB, PAGES, Channels
from dinocli.data.decode import page_count
from dinocli.data.image_sample import ImageSample
from dinocli.data.pixels import full_range
from dinocli.data.ranges import PER_IMAGE
from dinocli.data.sources import ImageList
from dinocli.errors import DataError

_HEADERS = 16
"""Files whose pages are counted."""

_NARROW = 1 / 16
"""Share of the range below which a channel has hardly any contrast left: four bits of eight."""


def input_channels(images: ImageList, channels: Channels, page: int) -> int:
    """Return how many channels a network has to take; where pages are channels, by the headers of a few images.

    Args:
        images: The dataset.
        channels: Source channels to read.
        page: Of the first page.

    Returns:
        3 for grey and RGB.
    """
    count = len(channels)
    if channels == PAGES:
        rows = np.linspace(0, len(images) - 1, min(_HEADERS, len(images))).astype(int).tolist()
        count = Counter(_pages(images.path(row)) - page for row in rows).most_common(1)[0][0]
    return 3 if count in (0, *GREY_OR_RGB) else count


def described_channels(count: int) -> str:
    """Say how pictures show images of so many channels; nothing for grey and RGB."""
    if count in GREY_OR_RGB:
        return ""
    shown = "two as red and green" if count == 2 else "three as red, green and blue"
    return f"{count} channels; pictures show the first {shown}"


def uneven_notes(samples: Sequence[ImageSample], policy: str, low: float, high: float) -> list[str]:
    """Warn of channels that the one range of all channels makes nearly one grey."""
    spans = [one.spans for one in samples if one.spans]
    if policy == PER_IMAGE or not spans:
        return []
    if policy == "full":
        low, high = full_range(samples[0].dtype)
    found = []
    for channel, own in enumerate(zip(*spans, strict=False)):
        least, most = min(low for low, _ in own), max(high for _, high in own)
        if 0 < most - least < _NARROW * (high - low):
            found.append(f"{channel} ({least:g} to {most:g})")
    if not found:
        return []
    return [
        f"of the {len(spans[0])} channels, counted from 0, {', '.join(found)} use less than a sixteenth of the range "
        f"{low:g} to {high:g} that all share, and are nearly one grey; --range image:1,99 gives each one its own"
    ]


def _pages(path: str) -> int:
    """Return the pages of a file; 3 where it cannot be read, which is told when it is read in whole."""
    try:
        return page_count(path)[0]
    except DataError:
        return 3
