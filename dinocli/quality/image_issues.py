"""Image quality issues: dark, bright, blank, blurred, low entropy, odd aspect ratio, odd size.

An image is listed only if it crosses an absolute limit and differs from the folder: in a folder of dark x-rays a dark
image is no issue.

Shapes: N images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.image_statistics import ImageStatistics, robust_scores

IssueKind = Literal["unreadable", "blank", "dark", "bright", "blurred", "low_entropy", "odd_aspect", "odd_size"]

UNLIKE = 3.0
"""Robust standard deviations from the median of the folder."""

_BLANK_CONTRAST = 2 / 255
_DARK_END, _BRIGHT_END = 0.25, 0.75  # 99 % of a dark image lies below, 99 % of a bright one above
_FEW_BITS = 3.0
_TIMES_ASPECT, _TIMES_AREA = 1.5, 4.0
_SOFTER = 1.0  # logarithm: the variance of the Laplacian is a third of the usual one
_ALIKE, _RARE = 0.1, 0.02  # two values are of one kind within 10 %; a kind of 2 % of the folder is rare
_BLURRED = -7.5  # sharpness of a picture without an edge: photographs have -6 to -2


@dataclass(frozen=True)
class ImageIssue:
    """One image and what is wrong with it.

    Args:
        row: Its place.
        kind: What.
        value: Of the statistic that says so: brightness 0 to 1, contrast, logarithm of sharpness, bits, width / height,
            pixels.
        usual: Its median over the folder.
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
        statistics: Of each image; None where it cannot be read.
        sizes: True (h, w) of each image in pixels; None where it cannot be read.
    """
    nan = float("nan")
    unreadable = [ImageIssue(row, "unreadable", nan, nan) for row, one in enumerate(statistics) if one is None]
    seen = [(row, one) for row, one in enumerate(statistics) if one is not None]
    measured = [(row, size) for row, size in enumerate(sizes) if size is not None]
    found = [*unreadable, *_of_light(seen), *_of_size(measured)]
    return sorted(found, key=lambda issue: issue.row)


def _of_light(seen: list[tuple[int, ImageStatistics]]) -> Iterator[ImageIssue]:
    if not seen:
        return
    names = ("mean", "contrast", "sharpness", "entropy")
    column = {name: np.array([getattr(one, name) for _, one in seen]) for name in names}
    score = {name: robust_scores(values_N) for name, values_N in column.items()}
    usual = {name: float(np.median(values_N)) for name, values_N in column.items()}
    for place, (row, one) in enumerate(seen):
        if one.contrast < _BLANK_CONTRAST:
            if usual["contrast"] >= _BLANK_CONTRAST:
                yield ImageIssue(row, "blank", one.contrast, usual["contrast"])
            continue
        if one.bright_end < _DARK_END and score["mean"][place] < -UNLIKE / 2:
            yield ImageIssue(row, "dark", one.mean, usual["mean"])
        if one.dark_end > _BRIGHT_END and score["mean"][place] > UNLIKE / 2:
            yield ImageIssue(row, "bright", one.mean, usual["mean"])
        softer = usual["sharpness"] - one.sharpness > _SOFTER
        if softer and score["sharpness"][place] < -UNLIKE and one.sharpness < _BLURRED:
            yield ImageIssue(row, "blurred", one.sharpness, usual["sharpness"])
        if score["entropy"][place] < -UNLIKE and one.entropy < _FEW_BITS:
            yield ImageIssue(row, "low_entropy", one.entropy, usual["entropy"])


def _of_size(measured: list[tuple[int, tuple[int, int]]]) -> Iterator[ImageIssue]:
    if not measured:
        return
    height_N, width_N = np.array([size for _, size in measured], np.float64).T
    for kind, value_N, times in (
        ("odd_aspect", width_N / height_N, _TIMES_ASPECT),
        ("odd_size", width_N * height_N, _TIMES_AREA),
    ):
        log_N: NDArray[np.float64] = np.log(value_N)
        unlike_N = (np.abs(robust_scores(log_N)) > UNLIKE) & (np.abs(log_N - np.median(log_N)) > np.log(times))
        unlike_N &= _alike(log_N) <= max(1, _RARE * len(log_N))  # upright photographs among others are a kind, not odd
        for place in np.flatnonzero(unlike_N):
            yield ImageIssue(measured[place][0], kind, float(value_N[place]), float(np.median(value_N)))  # type: ignore[arg-type]


def _alike(log_N: NDArray[np.float64]) -> NDArray[np.intp]:
    """Count the values near each value, itself included."""
    sorted_N = np.sort(log_N)
    ends = (np.searchsorted(sorted_N, log_N + side * _ALIKE, "right" if side > 0 else "left") for side in (1, -1))
    upper_N, lower_N = ends
    return np.asarray(upper_N - lower_N, np.intp)
