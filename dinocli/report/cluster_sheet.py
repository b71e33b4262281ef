"""Contact sheet of the groups of `cluster`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.files import write_atomic
from dinocli.quality.grouping import Grouping
from dinocli.report.sheet import sheet_png
from dinocli.report.thumbnails import Thumbnails

GROUPS, TYPICAL, BORDER = 24, 5, 3
"""Maximum number of groups, and of typical images and images at the border of each."""


def write_cluster_sheet(path: Path, members: FeatureFile, grouping: Grouping, titles: Sequence[str]) -> None:
    """Write a PNG with one titled row per group: the most typical images, then those at its border."""
    groups = range(min(len(grouping.sizes_K), GROUPS))
    chosen = [_typical_and_border(grouping, group) for group in groups]
    small = Thumbnails(members, 128).small([row for line in chosen for row in line])
    pictures = [[next(small) for _ in line] for line in chosen]
    columns = max(map(len, pictures), default=0)
    typical = ["medoid", *(["typical"] * (TYPICAL - 1)), *(["border"] * BORDER)]
    write_atomic(path, sheet_png(pictures, column_labels=typical[:columns], row_labels=titles[: len(groups)]))


def _typical_and_border(grouping: Grouping, group: int) -> list[int]:
    members = np.flatnonzero(grouping.label_N == group)
    typical = members[np.argsort(grouping.distance_N[members], kind="stable")][:TYPICAL].tolist()
    rest = members[~np.isin(members, typical)]
    border = rest[np.argsort(grouping.margin_N[rest], kind="stable")][:BORDER].tolist()
    return [int(row) for row in [*typical, *border]]
