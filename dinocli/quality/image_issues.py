"""Image quality issues: dark, bright, blank, blurred, low entropy, odd aspect ratio, odd size.

An image is listed only if it exceeds an absolute limit and is an outlier of the folder: in a folder of dark x-rays a
dark image is not an issue. Images of one value are always blank, and the others are compared with each other.

Shapes: N images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.image_statistics import ImageStatistics, robust_scores

IssueKind = Literal["unreadable", "blank", "dark", "bright", "blurred", "low_entropy", "odd_aspect", "odd_size"]

OUTLIER_DEVIATIONS = 3.0
"""Robust standard deviations from the median of the folder above which a value is an outlier."""

_MAX_BLANK_CONTRAST = 2 / 255
_MAX_NO_CONTRAST = 0.1 / 255  # a hundredth of the pixels differ by one level
_MAX_DARK, _MIN_BRIGHT = 0.25, 0.75  # 99 % of a dark image lies below, 99 % of a bright image above; brightness 0 to 1
_MAX_LOW_ENTROPY = 3.0  # bits
_MIN_ASPECT_RATIO, _MIN_AREA_RATIO = 1.5, 4.0  # relative to the median
_MIN_SHARPNESS_LOSS = 1.0  # natural logarithm: the variance of the Laplacian is about a third of the median
_SAME_KIND, _RARE_KIND = 0.1, 0.02  # values within 10 % are of one kind; a kind of up to 2 % of the folder is rare
_MAX_BLURRED_SHARPNESS = -7.5  # an image without edges; photographs have -6 to -2


@dataclass(frozen=True)
class ImageIssue:
    """One issue of an image.

    Args:
        row: Index of the image.
        kind: Kind of issue.
        value: The statistic: brightness (0 to 1), contrast (0 to 1), log sharpness, entropy (bits), width / height, or
            area (pixels).
        usual: Median of the statistic over the folder, images of one value left out.
    """

    row: int
    kind: IssueKind
    value: float
    usual: float


def find_issues(
    statistics: Sequence[ImageStatistics | None], sizes: Sequence[tuple[int, int] | None]
) -> list[ImageIssue]:
    """List the issues of a folder, image by image.

    Args:
        statistics: Statistics of each image; None where it cannot be read.
        sizes: True (h, w) of each image in pixels; None where it cannot be read.
    """
    nan = float("nan")
    unreadable = [ImageIssue(row, "unreadable", nan, nan) for row, image in enumerate(statistics) if image is None]
    readable = [(row, image) for row, image in enumerate(statistics) if image is not None]
    measured = [(row, size) for row, size in enumerate(sizes) if size is not None]
    issues = [*unreadable, *_appearance_issues(readable), *_size_issues(measured)]
    return sorted(issues, key=lambda issue: issue.row)


def _appearance_issues(readable: list[tuple[int, ImageStatistics]]) -> Iterator[ImageIssue]:
    flat = [(row, image) for row, image in readable if image.contrast < _MAX_NO_CONTRAST]
    readable = [(row, image) for row, image in readable if image.contrast >= _MAX_NO_CONTRAST]
    names = ("mean", "contrast", "sharpness", "entropy")
    column = {name: np.array([getattr(image, name) for _, image in readable]) for name in names}
    score = {name: robust_scores(values_N) for name, values_N in column.items() if readable}
    usual = {name: float(np.median(values_N)) for name, values_N in column.items() if readable}
    for row, image in flat:
        yield ImageIssue(row, "blank", image.contrast, usual.get("contrast", 0.0))
    for place, (row, image) in enumerate(readable):
        if image.contrast < _MAX_BLANK_CONTRAST:
            if usual["contrast"] >= _MAX_BLANK_CONTRAST:
                yield ImageIssue(row, "blank", image.contrast, usual["contrast"])
            continue
        if image.bright_end < _MAX_DARK and score["mean"][place] < -OUTLIER_DEVIATIONS / 2:
            yield ImageIssue(row, "dark", image.mean, usual["mean"])
        if image.dark_end > _MIN_BRIGHT and score["mean"][place] > OUTLIER_DEVIATIONS / 2:
            yield ImageIssue(row, "bright", image.mean, usual["mean"])
        softer = usual["sharpness"] - image.sharpness > _MIN_SHARPNESS_LOSS
        if softer and score["sharpness"][place] < -OUTLIER_DEVIATIONS and image.sharpness < _MAX_BLURRED_SHARPNESS:
            yield ImageIssue(row, "blurred", image.sharpness, usual["sharpness"])
        if score["entropy"][place] < -OUTLIER_DEVIATIONS and image.entropy < _MAX_LOW_ENTROPY:
            yield ImageIssue(row, "low_entropy", image.entropy, usual["entropy"])


def _size_issues(measured: list[tuple[int, tuple[int, int]]]) -> Iterator[ImageIssue]:
    if not measured:
        return
    height_N, width_N = np.array([size for _, size in measured], np.float64).T
    for kind, value_N, min_ratio in (
        ("odd_aspect", width_N / height_N, _MIN_ASPECT_RATIO),
        ("odd_size", width_N * height_N, _MIN_AREA_RATIO),
    ):
        log_N: NDArray[np.float64] = np.log(value_N)
        odd_N = (np.abs(robust_scores(log_N)) > OUTLIER_DEVIATIONS) & (
            np.abs(log_N - np.median(log_N)) > np.log(min_ratio)
        )
        odd_N &= _count_of_kind(log_N) <= max(1, _RARE_KIND * len(log_N))  # portrait photographs are a kind, not odd
        for place in np.flatnonzero(odd_N):
            yield ImageIssue(measured[place][0], kind, float(value_N[place]), float(np.median(value_N)))  # type: ignore[arg-type]


def _count_of_kind(log_N: NDArray[np.float64]) -> NDArray[np.intp]:
    """Count the values within 10 % of each value, itself included."""
    sorted_N = np.sort(log_N)
    ends = (np.searchsorted(sorted_N, log_N + side * _SAME_KIND, "right" if side > 0 else "left") for side in (1, -1))
    upper_N, lower_N = ends
    return np.asarray(upper_N - lower_N, np.intp)
