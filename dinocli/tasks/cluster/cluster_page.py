"""HTML page of `cluster` with the map of all images."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.file_set import FileSet
from dinocli.progress import ProgressReporter
from dinocli.quality.grouping import NO_CLUSTER
from dinocli.quality.nearest_rows import nearest_rows
from dinocli.quality.normalized_features import block_threads
from dinocli.report.drift_part import drift_part
from dinocli.report.k_curve import k_curves
from dinocli.report.map_page import MapImage, MapPage, write_map_page
from dinocli.report.page_thumbnails import page_thumbnails
from dinocli.report.picture import Picture
from dinocli.tasks.cluster.cluster_options import ClusterResult, thumbnail_folder
from dinocli.tasks.cluster.findings import Findings

PAGE_ROWS = 50_000
"""Maximum number of images on a page that stays responsive; of more, a sample with all medoids is shown."""
NEIGHBOURS = 8
"""Most similar images that the page shows beside an image."""

_QUERIES = 2000  # images per nearest-neighbour search; a few hundred MiB


def write_page(
    path: Path,
    files: FileSet,
    members: FeatureFile,
    findings: Findings,
    outcome: ClusterResult,
    reporter: ProgressReporter,
    seed: int,
) -> None:
    """Write the page, and a folder of thumbnails if they are too large to embed.

    Args:
        path: Path of the page.
        files: File set that the page and the folder join.
        members: The images.
        findings: Groups, outlier scores, positions and pairs; the first label column is shown.
        outcome: Summary of the result.
        reporter: Receives the progress of the thumbnails.
        seed: Random seed of the sample if not all images are shown.
    """
    duplicates = [row for group in findings.same.groups for row in group.rows]
    rows = _shown_rows(len(members), [*findings.groups.grouping.medoids_K, *duplicates[: PAGE_ROWS // 2]], seed)
    neighbours = _neighbours(members, rows, reporter)
    thumbnails = page_thumbnails(members, rows, thumbnail_folder(path), files, reporter)
    images = _images(members, findings, rows, thumbnails, neighbours)
    drifted = findings.drifted
    index_of = {row: index for index, row in enumerate(rows)}
    groups = [group for group in findings.same.groups if index_of.keys() >= {*group.rows}]
    page = MapPage(
        title="Groups of images",
        images=images,
        clusters=[f"{group.cluster} · {group.name}" for group in outcome.clusters],
        clear=outcome.clear,
        root=members.root,
        method=findings.map.method,
        duplicates=[group._replace(rows=[index_of[row] for row in group.rows]) for group in groups],
        copies=outcome.copies,
        near=outcome.duplicates if outcome.duplicate_reason else 0,
        issues=[replace(issue, row=index_of[issue.row]) for issue in findings.issues if issue.row in index_of],
        drift=drift_part(drifted.verdict, drifted.batch, drifted.features.score_M) if drifted else None,
        curves=k_curves(outcome.curve, len(outcome.clusters)),
        agreement=[
            (f"{name}, {column}", value)
            for column, scores in outcome.agreement.items()
            for name, value in scores.items()
        ]
        + [
            (f"Images with a label, {column}", text)
            for column, counts in outcome.label_counts.items()
            if (text := counts.coverage(outcome.images))
        ],
        facts=[
            ("Features", str(outcome.features or "computed for this page")),
            ("Weights", outcome.weights or "not known"),
            ("Method", outcome.method),
            ("Map", findings.map.method),
            ("Neighbours", f"the {NEIGHBOURS} images of the highest cosine, of the features as in the file"),
            ("Images", outcome.images),
            ("In no group", outcome.ungrouped),
        ],
        notes=_notes(outcome, len(rows), len(groups)),
    )
    write_map_page(files.new(path), page)


def _shown_rows(count: int, wanted: Sequence[int], seed: int) -> list[int]:
    if count <= PAGE_ROWS:
        return list(range(count))
    first = dict.fromkeys([*wanted, *np.random.default_rng(seed).permutation(count).tolist()])
    return sorted(list(first)[:PAGE_ROWS])


def _neighbours(members: FeatureFile, rows: Sequence[int], reporter: ProgressReporter) -> list[list[tuple[int, float]]]:
    """Return (index into `rows`, cosine) of the nearest neighbours of each row, nearest first."""
    features_ND = members.flat() if len(rows) == len(members) else members.flat()[rows]
    neighbours: list[list[tuple[int, float]]] = []
    for first in range(0, len(rows), _QUERIES):
        queries_QD = features_ND[first : first + _QUERIES]
        themselves = np.arange(first, first + len(queries_QD))
        nearest = nearest_rows(queries_QD, features_ND, NEIGHBOURS, leave_out=themselves, threads=block_threads())
        pairs = zip(nearest.rows_QK.tolist(), nearest.cosine_QK.tolist(), strict=True)
        neighbours.extend(list(zip(*pair, strict=True)) for pair in pairs)
        reporter.progress("neighbours", len(neighbours), len(rows))
    return neighbours


def _images(
    members: FeatureFile,
    findings: Findings,
    rows: Sequence[int],
    thumbnails: Sequence[Picture | Path],
    neighbours: Sequence[Sequence[tuple[int, float]]],
) -> list[MapImage]:
    grouping, column = findings.groups.grouping, next(iter(findings.labels.values()), [])
    medoids, places_N2 = set(grouping.medoids_K), findings.map.place_N2
    return [
        MapImage(
            name=members.names[row],
            x=float(places_N2[row, 0]),
            y=float(places_N2[row, 1]),
            cluster=int(grouping.label_N[row]),
            distance=float(grouping.distance_N[row]),
            margin=float(grouping.margin_N[row]),
            outlier=float(findings.outlier_N[row]),
            thumbnail=thumbnail,
            original=(members.root or Path()) / members.names[row],
            medoid=row in medoids,
            label=column[row] if column else "",
            neighbours=near,
        )
        for row, thumbnail, near in zip(rows, thumbnails, neighbours, strict=True)
    ]


def _notes(outcome: ClusterResult, shown: int, groups: int) -> list[str]:
    notes = [f"{outcome.reason[:1].upper()}{outcome.reason[1:]}."]
    if shown < outcome.images:
        notes.append(f"The map shows a sample of {shown:,} of {outcome.images:,} images, with all medoids.")
    if groups < outcome.duplicate_groups:
        notes.append(f"{groups:,} of {outcome.duplicate_groups:,} groups of duplicates are shown; the table has all.")
    if any(math.isnan(group.mean_distance) for group in outcome.clusters) or outcome.ungrouped:
        notes.append(f"{outcome.ungrouped:,} images are in no group ({NO_CLUSTER} in the table).")
    return notes
