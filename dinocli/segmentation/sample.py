"""Random sample of the images or of the reference images, as canvases or as feature grids."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from dinocli.data.image_list import ImageList
from dinocli.engine.square_resize import squares
from dinocli.errors import DataError
from dinocli.progress import ProgressReporter
from dinocli.quality.cosine import mean_cosine
from dinocli.segmentation.feature_extraction import FeatureExtraction
from dinocli.segmentation.method import FeatureGrid, FeatureKind
from dinocli.segmentation.reference_copies import ReferenceCopies
from dinocli.segmentation.segment_images import SegmentImage

SAMPLE_BYTES = 1 << 30
"""Size of the feature grids at which the sample ends: of large images fewer are sampled. Coarse grids beside fine ones
do not count."""


@dataclass(frozen=True)
class Sample:
    """Random sample of the images, or of the reference images.

    Args:
        images: The images, or the reference images.
        rows: Indices of the sampled ones.
        extraction: Extraction of fine features, which gives those of other kinds too.
        seed: Seed of `pictures`.
        threads: Reading threads.
        reporter: Receives the progress.
        copies: Recognises reference images among the tested ones; None without a reference.
    """

    images: ImageList
    rows: list[int]
    extraction: FeatureExtraction
    seed: int
    threads: int
    reporter: ProgressReporter
    copies: ReferenceCopies | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def grids(self, feature_kind: FeatureKind) -> Iterator[FeatureGrid]:
        """Yield the feature grids of the sample until they exceed `SAMPLE_BYTES`, at least one.

        Raises:
            DataError: No image of the sample is readable.
        """
        extractor = replace(self.extraction, feature_kind=feature_kind)
        pictures = extractor.reader.read_images(self.images, self.rows, self.threads)
        count, free_bytes = 0, SAMPLE_BYTES
        for number, picture in enumerate(pictures, start=1):
            self.reporter.progress("extracting features", number, len(self.rows))
            if isinstance(picture, SegmentImage):
                grid = extractor.grid(self._numbered(picture))
                yield grid
                count, free_bytes = count + 1, free_bytes - grid.values_hwD.nbytes
            if free_bytes < 0:
                break
        if not count:
            raise DataError(f"none of {len(self.rows)} sampled images in {self.images.root} can be read")

    def pictures(self, count: int) -> list[SegmentImage]:
        """Return the canvases of at most that many images of the sample, drawn at random, for the anomaly method."""
        drawn = np.random.default_rng(self.seed).permutation(self.rows)[:count].tolist()
        read = self.extraction.reader.read_images(self.images, drawn, self.threads)
        return [self._numbered(picture) for picture in read if isinstance(picture, SegmentImage)]

    @torch.inference_mode()
    def similarity(self, count: int) -> float:
        """Return the mean cosine between the pooled features of two images, of at most `count` images of the sample."""
        device, preprocess = self.extraction.device, self.extraction.preprocess
        backbone, canvases = self.extraction.backbone, [picture.canvas_CHW for picture in self.pictures(count)]
        pooled = [backbone(squares([canvas], preprocess, device))[0].float().cpu().numpy() for canvas in canvases]
        if (images := len(pooled)) < 2:
            return 0.0
        return (mean_cosine(np.stack(pooled)) * images - 1) / (images - 1)  # without that of an image and itself

    def _numbered(self, picture: SegmentImage) -> SegmentImage:
        """Replace the index of a reference image by its number, see `ReferenceCopies`."""
        return replace(picture, image=self.copies.reference_number(picture)) if self.copies else picture
