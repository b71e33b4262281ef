"""Random sample of the images or of the reference images, as canvases or as feature grids."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dinocli.data.image_list import ImageList
from dinocli.data.parallel import thread_count
from dinocli.data.sources import find_images
from dinocli.data.tiling import parse_tiling
from dinocli.errors import DataError
from dinocli.progress import ProgressReporter
from dinocli.segmentation.feature_extraction import FeatureExtraction
from dinocli.segmentation.method import FeatureGrid, FeatureKind
from dinocli.segmentation.method_options import parse_query
from dinocli.segmentation.reference_copies import ReferenceCopies
from dinocli.segmentation.segment_images import SegmentImage
from dinocli.tasks.embed.embed_setup import EmbedContext
from dinocli.tasks.segment.segment_options import SegmentOptions

SAMPLE_BYTES = 1 << 30
"""Maximum size of the feature grids that a method is fitted on; of large images fewer are sampled."""


class Sample:
    """Random sample of the images, or of the reference images.

    Args:
        context: Weights and preprocessing.
        options: Options of the command.
        reporter: Receives the progress.

    Attributes:
        copies: Recognises reference images among the tested ones; None without a reference.
    """

    def __init__(self, context: EmbedContext, options: SegmentOptions, reporter: ProgressReporter) -> None:
        self._context, self._options, self._reporter = context, options, reporter
        self._images: ImageList = (
            find_images([options.reference], exclude=options.read.exclude, window=options.read.window)
            if options.reference
            else context.images
        )
        for note in self._images.notes if options.reference else ():
            reporter.line(f"--reference {options.reference}: {note}")
        self.copies = (
            ReferenceCopies(self._images, context.images, options.reference, reporter) if options.reference else None
        )
        random = np.random.default_rng(options.seed)
        count = min(options.sample, len(self._images))
        self._rows: list[int] = sorted(random.choice(len(self._images), count, replace=False).tolist())

    def __len__(self) -> int:
        return len(self._rows)

    def grids(self, feature_kind: FeatureKind) -> Iterator[FeatureGrid]:
        """Yield the feature grids of the sample, at most `SAMPLE_BYTES` but at least one.

        Raises:
            DataError: No image of the sample is readable.
        """
        extractor = extractor_of(self._context, self._options, feature_kind)
        pictures = extractor.reader.read_images(self._images, self._rows, thread_count(self._context.data.workers))
        count, free_bytes = 0, SAMPLE_BYTES
        for number, picture in enumerate(pictures, start=1):
            self._reporter.progress("extracting features", number, len(self._rows))
            if isinstance(picture, SegmentImage):
                grid = extractor.grid(self._numbered(picture))
                yield grid
                count, free_bytes = count + 1, free_bytes - grid.values_hwD.nbytes
            if free_bytes < 0:
                break
        if not count:
            raise DataError(f"none of {len(self._rows)} sampled images in {self._images.root} can be read")

    def pictures(self, count: int) -> list[SegmentImage]:
        """Return the canvases of at most that many images of the sample, drawn at random, for the anomaly method."""
        drawn = np.random.default_rng(self._options.seed).permutation(self._rows)[:count]
        reader = extractor_of(self._context, self._options, FeatureKind.PATCHES).reader
        read = reader.read_images(self._images, drawn.tolist(), thread_count(self._context.data.workers))
        return [self._numbered(picture) for picture in read if isinstance(picture, SegmentImage)]

    def _numbered(self, picture: SegmentImage) -> SegmentImage:
        """Replace the index of a reference image by its number, see `ReferenceCopies`."""
        return replace(picture, image=self.copies.reference_number(picture)) if self.copies else picture


def extractor_of(context: EmbedContext, options: SegmentOptions, feature_kind: FeatureKind) -> FeatureExtraction:
    """Return the feature extractor for the options."""
    query = parse_query(options.query) if feature_kind == FeatureKind.ATTENTION else None
    return FeatureExtraction(
        context.backbone,
        context.preprocess,
        feature_kind,
        context.device,
        options.canvas_side,
        parse_tiling(options.tile),
        query,
        autocast=context.autocast,
    )
