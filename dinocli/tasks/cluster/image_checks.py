"""Pixel statistics of all images: issues (dark, bright, blank, blurred ...) and appearance outliers."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.data.decode import image_size
from dinocli.data.parallel import in_order, thread_count
from dinocli.errors import DataError
from dinocli.progress import ProgressReporter
from dinocli.quality.image_issues import ImageIssue, find_issues
from dinocli.quality.image_statistics import ImageStatistics, image_statistics
from dinocli.quality.outlier_scores import appearance_distance
from dinocli.report.thumbnails import BLANK, Thumbnails

MAX_IMAGES = 50_000
"""With more images, decoding takes longer than all other work; `embed` has already listed unreadable images."""
_SIDE = 128


Measured = tuple[ImageStatistics | None, bool]
"""Statistics of an image, and whether it is higher than wide as viewers show it."""


class CheckedImages(NamedTuple):
    """Issues and pixel statistics of all images.

    Args:
        issues: Issues in the order of the rows.
        distance_N: Distance of each image's statistics from those of most images.
        statistics: Statistics of the readable images.
    """

    issues: list[ImageIssue]
    distance_N: NDArray[np.float64]
    statistics: list[ImageStatistics]


def check_images(members: FeatureFile, reporter: ProgressReporter, seed: int = 0) -> CheckedImages | None:
    """Decode all images at 128 pixels and measure them; None for tiles, missing images or too many images."""
    if members.boxes is not None:
        reporter.line("tiles are not checked for darkness, blur and odd sizes")
        return None
    if members.root is None:
        return None
    if len(members) > MAX_IMAGES:
        reporter.line(f"more than {MAX_IMAGES:,} images: they are not decoded to find dark or blurred ones")
        return None
    measured = measure_images(members, reporter)
    statistics = [image for image, _ in measured]
    stored = in_order(lambda row: _size(members, row), range(len(members)), thread_count("auto"))
    read = members.preprocess()
    sizes = list(stored) if read and read.roi else [_upright(*each) for each in zip(stored, measured, strict=True)]
    read_M = np.array([row for row, image in enumerate(statistics) if image is not None], np.intp)
    distance_N = np.ones(len(members))
    readable = [image for image in statistics if image is not None]
    if readable:
        distance_M = appearance_distance(readable, seed=seed)
        distance_N[:] = np.median(distance_M)
        distance_N[read_M] = distance_M
    return CheckedImages(find_issues(statistics, sizes), distance_N, readable)


def measure_images(members: FeatureFile, reporter: ProgressReporter) -> list[Measured]:
    """Return the pixel statistics of each image at 128 pixels, None for unreadable ones, and whether it is high."""
    measured: list[Measured] = []
    for picture in Thumbnails(members, _SIDE).small(range(len(members))):
        height, width = picture.shape[:2]
        measured.append((None if picture is BLANK else image_statistics(picture), height > width))
        reporter.progress("measuring images", len(measured), len(members))
    return measured


def _upright(size: tuple[int, int] | None, measured: Measured) -> tuple[int, int] | None:
    """Return a stored size (h, w) as EXIF orientation turns the image."""
    image, is_high = measured
    if size is None or image is None or size[0] == size[1] or (size[0] > size[1]) == is_high:
        return size
    return size[1], size[0]


def _size(members: FeatureFile, row: int) -> tuple[int, int] | None:
    assert members.root is not None
    try:
        return image_size(members.root / members.names[row])
    except (DataError, OSError):
        return None
