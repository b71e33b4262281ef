"""Thumbnails of images, read with the preprocessing of the network's input."""

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.config.preprocess import Preprocess
from dinocli.data.canvas import Canvas, rgb
from dinocli.data.image_list import ImageList
from dinocli.data.parallel import in_order, thread_count
from dinocli.data.read import Reader
from dinocli.errors import DataError
from dinocli.report.picture import Picture

T = TypeVar("T")

SUFFIX = ".webp"
"""Suffix of the files of encoded thumbnails."""

_QUALITY = 72

_TILES = 64
"""Tiles per decoding of an image: bounds the pictures in memory, and lets several threads share a large image."""

BLANK = np.full((1, 1, 3), 200, np.uint8)
"""Replaces images that cannot be read."""


class Thumbnails:
    """Thumbnails of rows.

    Args:
        images: The rows; without the folder of the images all thumbnails are blank.
        side: Longer side, pixels.
    """

    def __init__(self, images: FeatureFile, side: int) -> None:
        self.images, self.side = images, side
        preprocess = _preprocess(images)
        self._reader = Reader(preprocess, side) if preprocess else None

    def small(self, rows: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield 8-bit RGB pictures, (h, w, 3), in the order of the rows; blank for unreadable images.

        An image of several consecutive rows, its tiles, is decoded once for up to `_TILES` of them.
        """
        return self._each(lambda pictures: pictures, rows)

    def encoded(self, rows: Sequence[int]) -> Iterator[Picture]:
        """Yield the thumbnails as pictures of a page; the order and the decoding as `small`."""
        return self._each(lambda pictures: list(map(webp, pictures)), rows)

    def _each(self, finish: Callable[[list[NDArray[np.uint8]]], list[T]], rows: Sequence[int]) -> Iterator[T]:
        groups = self._by_image(rows)
        for results in in_order(lambda group: finish(self._pictures(group)), groups, thread_count("auto")):
            yield from results

    def _by_image(self, rows: Sequence[int]) -> Iterator[list[int]]:
        for _, same in itertools.groupby(rows, lambda row: self.images.names[row]):
            while some := list(itertools.islice(same, _TILES)):
                yield some

    def _pictures(self, rows: list[int]) -> list[NDArray[np.uint8]]:
        """Return the thumbnails of rows of one image."""
        if self._reader is None or self.images.root is None:
            return [BLANK] * len(rows)
        path, boxes = str(self.images.root / self.images.names[rows[0]]), self.images.boxes
        try:
            if boxes:
                return [self._thumbnail(tile) for tile in self._reader.tiles(path, [boxes[row] for row in rows])]
            return [self._thumbnail(self._reader.whole(path))] * len(rows)
        except DataError:
            return [BLANK] * len(rows)

    def _thumbnail(self, canvas: Canvas) -> NDArray[np.uint8]:
        picture = Image.fromarray(rgb(canvas))
        picture.thumbnail((self.side, self.side), Image.Resampling.BICUBIC)
        return np.asarray(picture)


def _preprocess(rows: FeatureFile) -> Preprocess | None:
    """Return the stored preprocessing, or one measured on a sample of the images; None without image files."""
    stored = rows.preprocess()
    if stored or rows.root is None:
        return stored
    from dinocli.data.survey import survey  # feature files store their preprocessing

    images = ImageList(rows.root, sorted(set(rows.names)), [])
    try:
        measured = survey(images, "auto", sample=32)
    except DataError:  # images of different kinds have no common range; thumbnails need none
        measured = survey(images, "image:1,99", sample=32)
    half = (0.5, 0.5, 0.5)
    return Preprocess(
        measured.policy,
        measured.low,
        measured.high,
        measured.deep,
        measured.grey,
        (),
        0,
        half,
        half,
        size=224,
        alpha=measured.alpha,
    )


def webp(picture: NDArray[np.uint8]) -> Picture:
    """Encode an RGB picture, (h, w, 3), as WebP for a page."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", quality=_QUALITY, method=2)
    return Picture(file.getvalue(), "image/webp")
