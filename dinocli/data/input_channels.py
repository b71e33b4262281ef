"""How many channels a network has to take for the channels that are read, and what is said of them.

A network of photographs takes three, and grey is repeated to three. Any other number is one of measurements side by
side: bands of a satellite, stains of a microscope, detectors.
"""

from collections import Counter

import numpy as np

from dinocli.config.preprocess import PAGES, USUAL, Channels
from dinocli.data.decode import page_count
from dinocli.data.sources import ImageList
from dinocli.errors import DataError

_HEADERS = 16
"""Files whose pages are counted."""


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
    return 3 if count in (0, *USUAL) else count


def described_channels(count: int) -> str:
    """Say how pictures show images of so many channels; nothing for grey and RGB."""
    if count in USUAL:
        return ""
    shown = "two as red and green" if count == 2 else "three as red, green and blue"
    return f"{count} channels; pictures show the first {shown}"


def _pages(path: str) -> int:
    """Return the pages of a file; 3 where it cannot be read, which is told when it is read in whole."""
    try:
        return page_count(path)[0]
    except DataError:
        return 3
