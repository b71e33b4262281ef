"""Number of input channels of the network, by the image channels that are read, and notes on them.

Grey and RGB images need three (grey is repeated). Any other number is that of measured channels: satellite bands,
microscope stains, detectors.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dinocli.config.preprocess import GREY_OR_RGB, PAGES, Channels, Preprocess
from dinocli.data.decode import page_count
from dinocli.data.image_list import ImageList
from dinocli.data.image_sample import ImageSample
from dinocli.data.pixels import full_range
from dinocli.data.ranges import MEASURED, PER_IMAGE
from dinocli.errors import DataError

_SAMPLE_FILES = 16
"""Files whose pages are counted."""

_LOW_CONTRAST = 1 / 16
"""Fraction of the range below which a channel has hardly any contrast: 4 bits of 8."""


def input_channels(images: ImageList, channels: Channels, page: int) -> int:
    """Return the number of input channels; if pages are channels, the most common page count of 16 images.

    Args:
        images: The dataset.
        channels: Source channels to read.
        page: Index of the first page.

    Returns:
        3 for grey and RGB.
    """
    count = len(channels)
    if channels == PAGES:
        rows = np.linspace(0, len(images) - 1, min(_SAMPLE_FILES, len(images))).astype(int).tolist()
        count = Counter(_pages(images.path(row)) - page for row in rows).most_common(1)[0][0]
    return 3 if count in (0, *GREY_OR_RGB) else count


def described_channels(count: int) -> str:
    """Note how pictures show images of another number of channels than 1 and 3; empty for those."""
    if count in GREY_OR_RGB:
        return ""
    shown = "two as red and green" if count == 2 else "three as red, green and blue"
    return f"{count} channels; pictures show the first {shown}"


def uneven_notes(samples: Sequence[ImageSample], policy: str, low: float, high: float) -> list[str]:
    """Warn about channels with hardly any contrast in a range that all channels share; a measured one is of each."""
    channel_ranges = [image.channel_ranges for image in samples if image.channel_ranges]
    if policy in (PER_IMAGE, *MEASURED) or not channel_ranges:
        return []
    if policy == "full":
        low, high = full_range(samples[0].dtype)
    narrow = []
    for channel, ranges in enumerate(zip(*channel_ranges, strict=False)):
        least, most = min(low for low, _ in ranges), max(high for _, high in ranges)
        if 0 < most - least < _LOW_CONTRAST * (high - low):
            narrow.append(f"{channel} ({least:g} to {most:g})")
    if not narrow:
        return []
    count = len(channel_ranges[0])
    return [
        f"of the {count} channels, counted from 0, {', '.join(narrow)} use less than a sixteenth of the range "
        f"{low:g} to {high:g} that all share, and have hardly any contrast; --range minmax measures one per channel"
    ]


def colour_notes(samples: Sequence[ImageSample], preprocess: Preprocess, file: str = "") -> list[str]:
    """Warn about colour that is dropped, because the images of the weights, or of a feature file, were grey."""
    coloured = [image for image in samples if image.channels == 3 and not image.grey]
    if not preprocess.grey or not coloured:
        return []
    way = "" if file else "; --range auto reads them as they are"  # grey files have no channels 0,1,2
    return [
        f"{len(coloured)} of {len(samples)} files have colour, such as {coloured[0].name}, and are read as grey, as "
        f"those of {file or 'these weights'} were{way}"
    ]


def _pages(path: str) -> int:
    """Return the number of pages of a file; 3 if it cannot be read, which is reported when it is decoded."""
    try:
        return page_count(path)[0]
    except DataError:
        return 3
