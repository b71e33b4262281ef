"""Results of `cluster` per image, and their summary."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.artifacts.image_coco import ImageTag
from dinocli.data.labels import Labels
from dinocli.quality.agreement import ari, hungarian_accuracy, nmi
from dinocli.quality.group_names import group_names
from dinocli.quality.grouping import NO_CLUSTER
from dinocli.quality.image_issues import ImageIssue
from dinocli.quality.layout import MapCoordinates
from dinocli.report.crosstab import count_labels
from dinocli.tasks.cluster.cluster_options import Cluster, ClusterOptions, ClusterResult
from dinocli.tasks.cluster.drifted_batch import DriftedBatch
from dinocli.tasks.cluster.duplicate_groups import Same
from dinocli.tasks.cluster.groups import FoundGroups
from dinocli.tasks.feature_inputs import takes_features

OUTLIERS = 10


class Findings(NamedTuple):
    """Results for all images, for tables and page.

    Args:
        groups: Groups of the images.
        ids_K: Number of each group.
        outlier_N: Outlier score of each image.
        map: Map coordinates of each image.
        same: Pairs and groups of duplicates.
        issues: Dark, bright, blank, blurred and odd images.
        selected: Rows of the diverse subset.
        labels: Label columns.
        drifted: Result of the drift test; None without one.
    """

    groups: FoundGroups
    ids_K: Sequence[int]
    outlier_N: NDArray[np.float32]
    map: MapCoordinates
    same: Same
    issues: Sequence[ImageIssue]
    selected: Sequence[int]
    labels: Labels
    drifted: DriftedBatch | None

    @property
    def number_N(self) -> NDArray[np.intp]:
        """Return the group number of each image; -1 for no group."""
        return np.array([*self.ids_K, NO_CLUSTER], np.intp)[self.groups.grouping.label_N]


def result_of(options: ClusterOptions, members: FeatureFile, findings: Findings) -> ClusterResult:
    """Return the summary; its files and seconds are filled in after writing."""
    found, same, labels = findings.groups, findings.same, findings.labels
    grouping, number_N = found.grouping, findings.number_N
    medoids = [members.names[row] for row in grouping.medoids_K]
    spread = [float(grouping.distance_N[grouping.label_N == group].mean()) for group in range(len(medoids))]
    columns = (findings.ids_K, grouping.sizes_K, medoids, group_names(medoids), spread)
    clusters = [Cluster(*column) for column in zip(*columns, strict=True)]
    oddest = np.argsort(-findings.outlier_N, kind="stable")[:OUTLIERS].tolist()
    return ClusterResult(
        out=options.table,
        features=members.path if takes_features(options) else None,
        weights=members.meta.get("weights", {}).get("name", ""),
        map=findings.map.method,
        images=len(members),
        dropped=members.dropped,
        method=options.method,
        clear=found.clear,
        reason=found.reason,
        clusters=clusters,
        ungrouped=int((grouping.label_N == NO_CLUSTER).sum()),
        curve=found.curve,
        agreement={column: _agreement(names, grouping.label_N) for column, names in labels.items()},
        label_counts={
            column: count_labels(zip(number_N.tolist(), names, strict=True)) for column, names in labels.items()
        },
        duplicates=same.near,
        duplicate_groups=len(same.groups),
        duplicate_reason=same.reason,
        copies=same.copies,
        issues=dict(Counter(issue.kind for issue in findings.issues)),
        outliers=[(members.names[row], float(findings.outlier_N[row])) for row in oddest],
        selected=len(findings.selected),
        drift=findings.drifted.to_dict() if findings.drifted else None,
        files=[],
        seconds=0.0,
        root=members.root,
    )


def image_tags(findings: Findings) -> list[ImageTag]:
    """Return the COCO tags: group of each image, redundant duplicates, diverse subset."""
    groups = [
        ImageTag(row, "no group" if number == NO_CLUSTER else f"cluster {number}")
        for row, number in enumerate(findings.number_N.tolist())
    ]
    copies = [ImageTag(row, "duplicate") for group in findings.same.groups for row in group.rows[1:]]
    return groups + copies + [ImageTag(row, "selected") for row in findings.selected]


def _agreement(names: Sequence[str], label_N: NDArray[np.intp]) -> dict[str, float]:
    """Score the agreement of groups and labels over labelled images; images in no group count as one group."""
    truth_N = np.array(names)
    labelled_N = truth_N != ""
    if not labelled_N.any():
        return {}
    both: tuple[NDArray[Any], NDArray[Any]] = truth_N[labelled_N], label_N[labelled_N]
    return {"NMI": nmi(*both), "ARI": ari(*both), "accuracy": hungarian_accuracy(*both)}
