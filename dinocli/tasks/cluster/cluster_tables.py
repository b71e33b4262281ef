"""CSV tables and lists of `cluster`: images, duplicates, issues, drift, diverse subset."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import BOX_KEYS, FeatureFile
from dinocli.data.text_tables import parse_table, write_table
from dinocli.errors import DataError
from dinocli.files import write_atomic
from dinocli.quality.duplicates import DuplicateGroup, SamePair
from dinocli.quality.grouping import NO_CLUSTER
from dinocli.quality.image_issues import ImageIssue
from dinocli.tasks.cluster.cluster_options import Cluster
from dinocli.tasks.cluster.findings import Findings

HEADER = ("path", "cluster", "distance", "margin", "medoid", "outlier", "x", "y")
PAIRS = ("path", "other", "cosine", "exact", "likeness")
GROUPS = ("group", "path", "keep", "exact")
ISSUE = ("path", "issue", "value", "usual")


def write_clusters(path: Path, members: FeatureFile, findings: Findings, clusters: Sequence[Cluster]) -> None:
    """Write one row per image, in the order of the feature file; a missing number is an empty cell.

    `cluster` 0 is the largest group, -1 no group. `medoid` is 1 for the most typical image of each group, which gives
    the group its `cluster_name`.
    """
    name_of = {group.cluster: group.name for group in clusters}
    grouping = findings.groups.grouping
    medoids = set(grouping.medoids_K)
    boxes: Sequence[Sequence[int]] = members.boxes or [()] * len(members)
    numbers = findings.number_N.tolist()
    columns = zip(
        members.names,
        numbers,
        grouping.distance_N.tolist(),
        grouping.margin_N.tolist(),
        findings.outlier_N.tolist(),
        findings.map.place_N2.tolist(),
        [(*box, name_of.get(number, "")) for box, number in zip(boxes, numbers, strict=True)],
        strict=True,
    )
    rows = (
        (name, label, *map(_short, (distance, margin)), int(row in medoids), *map(_short, (outlier, x, y)), *rest)
        for row, (name, label, distance, margin, outlier, (x, y), rest) in enumerate(columns)
    )
    write_table(path, (*HEADER, *(BOX_KEYS if members.boxes else ()), "cluster_name"), rows)


def read_ids(path: Path) -> dict[str, int]:
    """Read the group number by image name from an earlier table of `cluster`; images in no group are left out.

    Raises:
        DataError: The file is not such a table.
    """
    try:
        rows = parse_table(path.read_text(encoding="utf-8-sig"))
        header = rows[0].cells
        name_column, group_column = header.index("path"), header.index("cluster")
        groups = {row.cells[name_column]: int(row.cells[group_column]) for row in rows[1:]}
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise DataError(f"cannot read groups from {path}: {error}; give the clusters.csv of an earlier run") from error
    return {name: group for name, group in groups.items() if group != NO_CLUSTER}


def write_pairs(path: Path, members: FeatureFile, pairs: Sequence[SamePair]) -> None:
    """Write one row per pair, highest cosine first."""
    names = members.names
    rows = ((names[p.first], names[p.second], f"{p.cosine:.6f}", int(p.exact), _short(p.likeness)) for p in pairs)
    write_table(path, PAIRS, rows)


def write_duplicate_groups(path: Path, members: FeatureFile, groups: Sequence[DuplicateGroup]) -> None:
    """Write one row per image with a duplicate, group by group; `keep` is 1 for the file to keep."""
    lines = (
        (number, members.names[row], int(place == 0), int(group.exact))
        for number, group in enumerate(groups)
        for place, row in enumerate(group.rows)
    )
    write_table(path, GROUPS, lines)


def write_drift(path: Path, names: Sequence[str], score_M: NDArray[np.float64]) -> None:
    """Write one row per image of the other batch, highest drift score first."""
    order = np.argsort(-score_M, kind="stable").tolist()
    write_table(path, ("path", "score"), ((names[row], _short(float(score_M[row]))) for row in order))


def write_issues(path: Path, members: FeatureFile, issues: Sequence[ImageIssue]) -> None:
    """Write one row per issue, in the order of the images."""
    write_table(path, ISSUE, ((members.names[i.row], i.kind, _short(i.value), _short(i.usual)) for i in issues))


def write_selected(path: Path, members: FeatureFile, rows: Sequence[int]) -> None:
    """Write one name per line in the order of selection, so that the first lines are a diverse subset too."""
    write_atomic(path, "".join(f"{members.names[row]}\n" for row in rows))


def _short(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
