"""The HTML page with the map of all images, and the contact sheet."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dinocli.file_set import FileSet
from dinocli.files import named_errors
from dinocli.progress import ProgressReporter
from dinocli.quality.auto_k import KScore
from dinocli.quality.grouping import NO_CLUSTER, Grouping
from dinocli.quality.nearest_rows import nearest_rows
from dinocli.quality.normalized_features import block_threads
from dinocli.report.chart import Curve
from dinocli.report.map_page import MapImage, MapPage, Pair, write_map_page
from dinocli.report.picture import Picture
from dinocli.report.sheet import contact_sheet
from dinocli.report.thumbnails import MIME, SUFFIX, Thumbnails
from dinocli.tasks.cluster.cluster_inputs import ClusterInputs
from dinocli.tasks.cluster.cluster_options import ClusterResult
from dinocli.tasks.cluster.findings import Findings

THUMBNAIL = 96
EMBEDDED_BYTES = 24 << 20
"""Thumbnails of more bytes lie in a folder beside the page: about 12,000 fit inside."""
PAGE_ROWS = 50_000
"""A page of more images would not stay fluid; a sample of them is shown, with all medoids."""
PAGE_PAIRS = 2000
NEIGHBOURS = 8
"""Most similar images that the page shows beside an image."""

_QUERIES = 2000  # images whose neighbours are looked for together: some hundred MiB

_SHEET_GROUPS, _SHEET_TYPICAL, _SHEET_BORDER = 24, 5, 3


def thumbnail_folder(page: Path) -> Path:
    """Return where the thumbnails lie that do not fit into the page."""
    return page.with_name(f"{page.stem}_files")


def write_page(
    path: Path,
    files: FileSet,
    members: ClusterInputs,
    findings: Findings,
    outcome: ClusterResult,
    reporter: ProgressReporter,
    seed: int,
) -> None:
    """Write the page, and its folder of thumbnails where they are too many to be inside.

    Args:
        path: Path of the page.
        files: Get the page, and the folder.
        members: The images.
        findings: Groups, outlier scores, positions and pairs; of the labels the first column is shown.
        outcome: Numbers of the whole.
        reporter: Receives the progress of the thumbnails.
        seed: Random seed of the sample, where not all images fit.
    """
    rows = _shown_rows(len(members), findings.groups.grouping.medoids_K, seed)
    neighbours = _neighbours(members, rows, reporter)
    images = _images(members, findings, rows, _thumbnails(path, files, members, rows, reporter), neighbours)
    place = {row: number for number, row in enumerate(rows)}
    there = [pair for pair in findings.same.pairs if pair.first in place and pair.second in place]
    page = MapPage(
        title="Groups of images",
        images=images,
        clusters=[f"cluster {group.cluster}" for group in outcome.clusters],
        clear=outcome.clear,
        root=members.root,
        method=findings.map_method,
        pairs=[Pair(place[p.first], place[p.second], p.cosine, p.exact) for p in there[:PAGE_PAIRS]],
        curves=_curves(outcome.curve, len(outcome.clusters)),
        agreement=[
            (f"{name}, {column}", value) for column, found in outcome.agreement.items() for name, value in found.items()
        ],
        facts=[
            ("Features", str(outcome.features or "computed for this page")),
            ("Weights", outcome.weights or "not known"),
            ("Method", outcome.method),
            ("Map", findings.map_method),
            ("Neighbours", f"the {NEIGHBOURS} images of the highest cosine, of the features as they are"),
            ("Images", outcome.images),
            ("In no group", outcome.ungrouped),
            ("Copies of files", outcome.copies),
        ],
        notes=_notes(outcome, len(rows), len(there)),
    )
    write_map_page(files.new(path), page)


def write_sheet(path: Path, members: ClusterInputs, grouping: Grouping) -> None:
    """Write a PNG: a row a group, the most typical images first, then those at its border."""
    groups = range(min(len(grouping.sizes_K), _SHEET_GROUPS))
    chosen = [_typical_and_border(grouping, group) for group in groups]
    small = Thumbnails(members, 128).small([row for line in chosen for row in line])
    pictures = [[next(small) for _ in line] for line in chosen]
    columns = max(map(len, pictures), default=0)
    typical = ["medoid", *(["typical"] * (_SHEET_TYPICAL - 1)), *(["border"] * _SHEET_BORDER)]
    names = [f"{group}: {grouping.sizes_K[group]:,}" for group in groups]
    contact_sheet(path, pictures, column_labels=typical[:columns], row_labels=names)


def _typical_and_border(grouping: Grouping, group: int) -> list[int]:
    members = np.flatnonzero(grouping.label_N == group)
    typical = members[np.argsort(grouping.distance_N[members], kind="stable")][:_SHEET_TYPICAL].tolist()
    rest = members[~np.isin(members, typical)]
    border = rest[np.argsort(grouping.margin_N[rest], kind="stable")][:_SHEET_BORDER].tolist()
    return [int(row) for row in [*typical, *border]]


def _shown_rows(count: int, medoids: Sequence[int], seed: int) -> list[int]:
    if count <= PAGE_ROWS:
        return list(range(count))
    chosen = np.random.default_rng(seed).choice(count, PAGE_ROWS - len(medoids), replace=False)
    return sorted({*chosen.tolist(), *medoids})


def _thumbnails(
    path: Path, files: FileSet, members: ClusterInputs, rows: Sequence[int], reporter: ProgressReporter
) -> list[Picture | Path]:
    """Make the pictures; once they are too many bytes for the page, all of them become files."""
    folder, part = thumbnail_folder(path), None
    found: list[Picture | Path] = []
    total = 0
    for number, data in enumerate(Thumbnails(members, THUMBNAIL).encoded(rows)):
        total += len(data)
        if total > EMBEDDED_BYTES and part is None:
            part = files.new(folder)
            part.mkdir()
            for place, one in enumerate(found):
                assert isinstance(one, Picture)
                found[place] = _beside(folder, part, place, one.data)
        found.append(_beside(folder, part, number, data) if part else Picture(data, MIME))
        reporter.progress("thumbnails", number + 1, len(rows))
    return found


def _beside(folder: Path, part: Path, number: int, data: bytes) -> Path:
    """Write a thumbnail into the hidden folder; return the name that it will have."""
    name = f"{number}{SUFFIX}"
    with named_errors(part / name):
        (part / name).write_bytes(data)
    return folder / name


def _neighbours(
    members: ClusterInputs, rows: Sequence[int], reporter: ProgressReporter
) -> list[list[tuple[int, float]]]:
    """Return places in `rows` and cosines of the images that are most like each one, nearest first."""
    features_ND = members.flat() if len(rows) == len(members) else members.flat()[rows]
    found: list[list[tuple[int, float]]] = []
    for first in range(0, len(rows), _QUERIES):
        queries_QD = features_ND[first : first + _QUERIES]
        own = np.arange(first, first + len(queries_QD))
        nearest = nearest_rows(queries_QD, features_ND, NEIGHBOURS, leave_out=own, threads=block_threads())
        both = zip(nearest.rows_QK.tolist(), nearest.cosine_QK.tolist(), strict=True)
        found.extend(list(zip(*one, strict=True)) for one in both)
        reporter.progress("neighbours", len(found), len(rows))
    return found


def _images(
    members: ClusterInputs,
    findings: Findings,
    rows: Sequence[int],
    thumbnails: Sequence[Picture | Path],
    neighbours: Sequence[Sequence[tuple[int, float]]],
) -> list[MapImage]:
    grouping, column = findings.groups.grouping, next(iter(findings.labels.values()), [])
    medoids, places_N2 = set(grouping.medoids_K), findings.place_N2
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


def _curves(curve: Sequence[KScore], k: int) -> list[Curve]:
    if not curve:
        return []
    series = {
        "score": [one.score for one in curve],
        "stability": [one.stability for one in curve],
        "silhouette": [one.silhouette for one in curve],
        "silhouette of structureless points": [one.cloud_silhouette for one in curve],
    }
    return [Curve("How many groups?", "k", "", [one.k for one in curve], series, mark=k)]


def _notes(outcome: ClusterResult, shown: int, pairs: int) -> list[str]:
    notes = [f"{outcome.reason[:1].upper()}{outcome.reason[1:]}."]
    if shown < outcome.images:
        notes.append(f"The map shows a sample of {shown:,} of {outcome.images:,} images, with all medoids.")
    if pairs > PAGE_PAIRS:
        notes.append(f"The closest {PAGE_PAIRS:,} of {pairs:,} pairs are shown; duplicates.csv has all.")
    if any(math.isnan(group.mean_distance) for group in outcome.clusters) or outcome.ungrouped:
        notes.append(f"{outcome.ungrouped:,} images are in no group ({NO_CLUSTER} in the table).")
    return notes
