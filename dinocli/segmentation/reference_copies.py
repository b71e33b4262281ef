"""Tested images that are reference images too: equal files, or equal pixels in another file format.

An image is not compared with patches of its own number, so that a copy in the reference does not hide its defect.
"""

import hashlib

import numpy as np

from dinocli.data.file_copies import equal_files
from dinocli.data.image_list import ImageList
from dinocli.progress import ProgressReporter
from dinocli.segmentation.segment_images import SegmentImage


class ReferenceCopies:
    """Numbers of the reference images, and of the tested images that have the same pixels.

    Equal files are found before any image is read; equal pixels as the images are read.

    Args:
        reference: Images of `folder`.
        tested: Images to segment.
        folder: The `--reference`.
        reporter: Receives the warnings.
    """

    def __init__(self, reference: ImageList, tested: ImageList, folder: str, reporter: ProgressReporter) -> None:
        self._tested, self._folder, self._reporter = tested, folder, reporter
        self._equal = equal_files(reference.paths(), tested.paths())
        self._by_pixels: dict[bytes, int] = {}
        self._warned = False
        if self._equal:
            reporter.warn(
                f"{len(self._equal)} of {len(reference)} images in --reference {folder} are among the tested images; "
                f"none is compared with itself, but their defects count as good for the others"
            )

    def reference_number(self, picture: SegmentImage) -> int:
        """Return the number of a reference image: that of its byte-identical tested image, or a negative number."""
        number = self._equal.get(picture.image, -1 - picture.image)
        return self._by_pixels.setdefault(_digest(picture), number)

    def tested_number(self, picture: SegmentImage) -> int:
        """Return the number of a tested image: that of a reference image with the same pixels, or its own."""
        number = self._by_pixels.get(_digest(picture), picture.image)
        if number < 0 and not self._warned:
            self._warned = True
            self._reporter.warn(
                f"{self._tested.names[picture.image]} has the pixels of an image in --reference {self._folder}, in "
                f"another file; such images are not compared with themselves, but their defects count as good for the "
                f"others"
            )
        return number


def _digest(picture: SegmentImage) -> bytes:
    pixels_CHW = np.ascontiguousarray(picture.source_CHW)
    return hashlib.blake2b(pixels_CHW.data, digest_size=16, key=str(pixels_CHW.shape).encode()).digest()
