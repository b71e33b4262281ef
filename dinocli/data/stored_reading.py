"""Checks whether images fit a stored preprocessing: of weights, a feature file or a detector."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from dinocli.config.preprocess import STORED_READING, Preprocess
from dinocli.data.folder_notes import (
    alpha_notes,
    blank_notes,
    channel_notes,
    clip_notes,
    float_notes,
    kind_notes,
    mask_notes,
    narrow_notes,
    outside_notes,
    page_notes,
)
from dinocli.data.image_list import ImageList
from dinocli.data.image_sample import ImageSample, SourceReading, sample_image, sample_in_memory
from dinocli.data.input_channels import colour_notes
from dinocli.data.pixels import Pixels
from dinocli.data.ranges import depth_kind
from dinocli.data.survey import sampled_images
from dinocli.errors import DataError

_CHECKED_IMAGES = 16
"""Number of images of a folder that are compared with a stored preprocessing."""

_FIRST_IMAGES = 64
"""Number of first images of a Python program or a stream that are compared; each is decoded once more."""

_MAX_NOTES = 3
"""Number of notes on them: all images of a stream may have the same fault."""


def check_stored(images: ImageList, preprocess: Preprocess, file: str = "") -> list[str]:
    """Return notes on images of a command that may not fit the stored preprocessing they are read with.

    Args:
        images: The dataset.
        preprocess: Stored preprocessing.
        file: Feature file or detector that stores it, and refuses other options; empty for weights.

    Returns:
        Notes on a sample of the images. If none is readable, there are none: reading the dataset reports that.
    """
    try:
        samples, _ = sampled_images(images, SourceReading.of(preprocess), _CHECKED_IMAGES, seed=0)
    except DataError:
        return []
    return _notes(samples, preprocess, file, f"make {file} again with it" if file else "")


class FirstImages:
    """Check of the first images of a Python program or a stream against the stored preprocessing.

    Args:
        preprocess: Stored preprocessing.
        file: Feature file or detector that stores it; empty for weights.
        warn: Receives the notes, as `check_stored` returns them.
    """

    def __init__(self, preprocess: Preprocess, file: str, warn: Callable[[str], None]) -> None:
        self._preprocess, self._file, self._warn = preprocess, file, warn
        self._left, self._notes_left = _FIRST_IMAGES, _MAX_NOTES

    def check(self, images: Iterable[str | Path | Image.Image | Pixels]) -> None:
        """Check the next paths, PIL images or arrays; none after `_FIRST_IMAGES` or `_MAX_NOTES` notes."""
        reading, images = SourceReading.of(self._preprocess), list(islice(images, self._left))
        samples = [
            sample_image(str(image), str(image), reading)
            if isinstance(image, str | Path)
            else sample_in_memory(image, f"image {place}", reading)
            for place, image in enumerate(images)
        ]
        readable = [sample for sample in samples if isinstance(sample, ImageSample)]
        way = f"make {self._file} again with it" if self._file else "in Python, change the `preprocess` of `load`"
        notes = _notes(readable, self._preprocess, self._file, way)[: self._notes_left]
        for note in notes:
            self._warn(note)
        self._notes_left -= len(notes)
        self._left = self._left - len(images) if self._notes_left else 0


def _notes(samples: Sequence[ImageSample], preprocess: Preprocess, file: str, way: str) -> list[str]:
    """Return notes; `way` says how to use the options of `STORED_READING` that they name, where none takes them."""
    p = preprocess
    same_kind = [image for image in samples if p.source in ("", depth_kind(image.dtype))]
    notes = [
        *kind_notes(samples, p.source, file),
        *float_notes(samples, p.range_policy),
        *blank_notes(samples),
        *narrow_notes(same_kind, p.range_policy, p.range_low, p.range_high),
        *clip_notes(same_kind, p, file),
        *outside_notes(same_kind, p.range_policy, p.range_low, p.range_high, file),
        *mask_notes(samples),
        *alpha_notes(samples, ignored=p.alpha == "ignore"),
        *channel_notes(samples),
        *colour_notes(samples, p, file),
        *page_notes(samples),
    ]
    named = STORED_READING if way else ()
    return [f"{note}: {way}" if any(name in note for name in named) else note for note in notes]
