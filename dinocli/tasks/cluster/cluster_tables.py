"""CSV tables and lists of `cluster`: images, duplicates, issues, drift, diverse subset."""

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
    boxes = _boxes(members)
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
    """Read the group number of each row (`row_keys`) from an earlier table; images in no group are left out.

    Raises:
        DataError: The file is not such a table.
    """
    try:
        rows = parse_table(path.read_text(encoding="utf-8-sig"))
        header = rows[0].cells
        name_column, group_column = header.index("path"), header.index("cluster")
        columns = [name_column, *(header.index(key) for key in BOX_KEYS if key in header)]
        groups = {_key([row.cells[column] for column in columns]): int(row.cells[group_column]) for row in rows[1:]}
    except (OSError, ValueError, IndexError, DataError) as error:
        raise DataError(f"cannot read groups from {path}: {error}; give the clusters.csv of an earlier run") from error
    return {name: group for name, group in groups.items() if group != NO_CLUSTER}


def row_keys(members: FeatureFile) -> list[str]:
    """Return what tells each row from the others in tables: its name, and its tile in features of tiles."""
    return [_key([name, *map(str, box)]) for name, box in zip(members.names, _boxes(members), strict=True)]


def _key(cells: Sequence[str]) -> str:
    return "\t".join(cells)


def _boxes(members: FeatureFile) -> Sequence[Sequence[int]]:
    return members.boxes or [()] * len(members)


def write_pairs(path: Path, members: FeatureFile, pairs: Sequence[SamePair]) -> None:
    """Write one row per pair, highest cosine first; of tiles, where both lie."""
    names, boxes = members.names, _boxes(members)
    rows = (
        (names[one], names[two], f"{cosine:.6f}", int(exact), _short(likeness), *boxes[one], *boxes[two])
        for one, two, cosine, exact, likeness in pairs
    )
    tiles = (*BOX_KEYS, *(f"other_{key}" for key in BOX_KEYS)) if members.boxes else ()
    write_table(path, (*PAIRS, *tiles), rows)


def write_duplicate_groups(path: Path, members: FeatureFile, groups: Sequence[DuplicateGroup]) -> None:
    """Write one row per image or tile with a duplicate, group by group; `keep` is 1 for the one to keep."""
    boxes = _boxes(members)
    lines = (
        (number, members.names[row], int(place == 0), int(group.exact), *boxes[row])
        for number, group in enumerate(groups)
        for place, row in enumerate(group.rows)
    )
    write_table(path, (*GROUPS, *(BOX_KEYS if members.boxes else ())), lines)


def write_drift(path: Path, batch: FeatureFile, score_M: NDArray[np.float64]) -> None:
    """Write one row per image or tile of the other batch, highest drift score first."""
    order, boxes = np.argsort(-score_M, kind="stable").tolist(), _boxes(batch)
    rows = ((batch.names[row], _short(float(score_M[row])), *boxes[row]) for row in order)
    write_table(path, ("path", "score", *(BOX_KEYS if batch.boxes else ())), rows)


def write_issues(path: Path, members: FeatureFile, issues: Sequence[ImageIssue]) -> None:
    """Write one row per issue, in the order of the images."""
    write_table(path, ISSUE, ((members.names[i.row], i.kind, _short(i.value), _short(i.usual)) for i in issues))


def write_selected(path: Path, members: FeatureFile, rows: Sequence[int]) -> None:
    """Write one name per line in the order of selection, so that the first lines are a diverse subset too.

    Of tiles, the name of the image, once.
    """
    write_atomic(path, "".join(f"{name}\n" for name in dict.fromkeys(members.names[row] for row in rows)))


def _short(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
