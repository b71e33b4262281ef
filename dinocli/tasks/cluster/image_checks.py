"""Pixel statistics of all images: issues (dark, bright, blank, blurred ...) and appearance outliers."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.data.decode import image_size
from dinocli.data.parallel import in_order, thread_count
from dinocli.errors import DataError, counted
from dinocli.progress import ProgressReporter
from dinocli.quality.aligned_similarity import is_plain, structure
from dinocli.quality.image_issues import ImageIssue, find_issues
from dinocli.quality.image_statistics import ImageStatistics, image_statistics
from dinocli.quality.outlier_scores import appearance_distance
from dinocli.quality.partial_copies import block_codes
from dinocli.report.thumbnails import BLANK, Thumbnails

MAX_IMAGES = 50_000
"""With more images, decoding takes longer than all other work; `embed` has already listed unreadable images."""
_SIDE = 128


class MeasuredImage(NamedTuple):
    """Measurements of an image at 128 pixels.

    Args:
        statistics: Pixel statistics; None if it cannot be read.
        codes_T: `block_codes`.
        is_plain: It has no structure, or cannot be read.
        is_portrait: It is taller than wide as viewers show it.
    """

    statistics: ImageStatistics | None
    codes_T: NDArray[np.int64]
    is_plain: bool
    is_portrait: bool


class CheckedImages(NamedTuple):
    """Issues and pixel statistics of all images.

    Args:
        issues: Issues in the order of the rows.
        distance_N: Distance of each image's statistics from those of most images.
        statistics: Statistics of the readable images.
        codes_NT: `block_codes` of each image.
        plain_N: Images without structure.
    """

    issues: list[ImageIssue]
    distance_N: NDArray[np.float64]
    statistics: list[ImageStatistics]
    codes_NT: NDArray[np.int64]
    plain_N: NDArray[np.bool_]


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
    measured = _measure_images(members, reporter)
    statistics = [image.statistics for image in measured]
    stored = in_order(lambda row: _size(members, row), range(len(members)), thread_count("auto"))
    read = members.preprocess()
    sizes = list(stored) if read and read.roi else list(map(_upright, stored, measured))
    read_M = np.array([row for row, image in enumerate(statistics) if image is not None], np.intp)
    distance_N = np.ones(len(members))
    readable = [image for image in statistics if image is not None]
    if readable:
        distance_M = appearance_distance(readable, seed=seed)
        distance_N[:] = np.median(distance_M)
        distance_N[read_M] = distance_M
    codes_NT = np.stack([image.codes_T for image in measured])
    plain_N = np.array([image.is_plain for image in measured])
    issues = find_issues(statistics, sizes)
    _tell_blank(sum(issue.kind == "blank" for issue in issues), len(members), reporter)
    return CheckedImages(issues, distance_N, readable, codes_NT, plain_N)


def _tell_blank(blank: int, images: int, reporter: ProgressReporter) -> None:
    """Say how many images are blank; a warning if most are, since the range or the folder is then likely wrong."""
    if blank:
        tell = reporter.warn if 2 * blank > images else reporter.line
        tell(f"{blank:,} of {counted(images, 'image')} {'is' if blank == 1 else 'are'} blank")


def picture_statistics(members: FeatureFile, reporter: ProgressReporter) -> list[ImageStatistics]:
    """Return the pixel statistics of the readable images."""
    found: list[ImageStatistics] = []
    for number, picture in enumerate(Thumbnails(members, _SIDE).small(range(len(members))), 1):
        found += [] if picture is BLANK else [image_statistics(picture)]
        reporter.progress("measuring images", number, len(members))
    return found


def _measure_images(members: FeatureFile, reporter: ProgressReporter) -> list[MeasuredImage]:
    """Measure each image at 128 pixels."""
    measured: list[MeasuredImage] = []
    for picture in Thumbnails(members, _SIDE).small(range(len(members))):
        height, width = picture.shape[:2]
        statistics = None if picture is BLANK else image_statistics(picture)
        structure_HW = structure(picture)
        measured.append(MeasuredImage(statistics, block_codes(structure_HW), is_plain(structure_HW), height > width))
        reporter.progress("measuring images", len(measured), len(members))
    return measured


def _upright(size: tuple[int, int] | None, image: MeasuredImage) -> tuple[int, int] | None:
    """Return a stored size (h, w) as EXIF orientation turns the image."""
    if size is None or image.statistics is None or size[0] == size[1] or (size[0] > size[1]) == image.is_portrait:
        return size
    return size[1], size[0]


def _size(members: FeatureFile, row: int) -> tuple[int, int] | None:
    assert members.root is not None
    try:
        return image_size(members.root / members.names[row])
    except (DataError, OSError):
        return None
