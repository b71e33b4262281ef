"""`dinocli.cluster`: group images by their features and write tables, COCO, link folders, contact sheet and page."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.artifacts.image_coco import write_image_coco
from dinocli.artifacts.link_folders import write_tree
from dinocli.data.labels import read_labels
from dinocli.errors import UsageError
from dinocli.file_set import FileSet, claimed
from dinocli.progress import LogReporter, ProgressReporter
from dinocli.quality.farthest_first import diverse
from dinocli.quality.layout import place
from dinocli.quality.normalized_features import NormalizedFeatures, block_threads, single_threaded
from dinocli.quality.outlier_scores import joined_outlier_score, neighbour_distance
from dinocli.quality.stable_ids import stable_ids
from dinocli.report.cluster_sheet import write_cluster_sheet
from dinocli.tasks.cluster.cluster_inputs import missing_root, open_members
from dinocli.tasks.cluster.cluster_options import (
    DRIFT,
    DUPLICATE_GROUPS,
    DUPLICATES,
    ISSUES,
    SELECTED,
    ClusterOptions,
    ClusterResult,
    thumbnail_folder,
)
from dinocli.tasks.cluster.cluster_page import write_page
from dinocli.tasks.cluster.cluster_tables import (
    read_ids,
    row_keys,
    write_clusters,
    write_drift,
    write_duplicate_groups,
    write_issues,
    write_pairs,
    write_selected,
)
from dinocli.tasks.cluster.drifted_batch import drift_of, open_batch
from dinocli.tasks.cluster.duplicate_groups import find_same
from dinocli.tasks.cluster.findings import Findings, image_tags, result_of
from dinocli.tasks.cluster.groups import FoundGroups, find_groups
from dinocli.tasks.cluster.image_checks import check_images
from dinocli.tasks.feature_inputs import check_labels


def cluster(
    options: ClusterOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> ClusterResult:
    """Group images by their features; write groups, near-duplicates, odd images, issues and the page.

    The same options give the same files, whatever the number of threads.

    Example:
        >>> result = dinocli.cluster(dinocli.ClusterOptions(("feats.npy",), k=2, out="clusters.csv"))
        >>> sum(group.size for group in result.clusters)
        8

    Args:
        options: Features or images, method and outputs.
        reporter: Receives the progress.
        stdin: Standard input, for `-`.

    Raises:
        DinocliError: The features are invalid, an output exists, or there are too many images for the method.
    """
    outputs = [*options.outputs(), *([_tree(options)] if options.link_dir else [])]
    with claimed(*outputs):
        options.check_outputs()
        return _cluster(options, reporter or LogReporter(), stdin)


def _cluster(options: ClusterOptions, reporter: ProgressReporter, stdin: BinaryIO | None) -> ClusterResult:
    began = time.monotonic()
    earlier = read_ids(Path(options.ids_from)) if options.ids_from else {}
    check_labels(options, options.labels)
    members = open_members(options, reporter, stdin)
    if options.link_dir and (members.root is None or members.boxes is not None):
        reason = missing_root(members) or "these features do not name whole images and their folder"
        raise UsageError(f"--link-dir needs the images: {reason}")
    batch = open_batch(Path(options.drift), members, reporter) if options.drift else None
    labels = read_labels(options.labels, members.names, reporter.line) if options.labels else {}
    reporter.line(f"{len(members):,} images, {members.flat().shape[1]} values each")
    options = replace(options, whiten=members.needs_whitening(options.whiten, reporter.line))
    rows, pooled = (NormalizedFeatures(part, threads=block_threads()) for part in (members.flat(), members.pooled_ND))
    with single_threaded():
        reporter.stage("grouping")
        found = find_groups(rows, options, reporter)
        checked = check_images(members, reporter, options.seed) if options.checks else None
        reporter.stage("looking for odd images and a map")
        distances = [neighbour_distance(pooled, seed=options.seed), *([checked.distance_N] if checked else [])]
        placed = place(rows, options.map, seed=options.seed)
        ids = _ids(options, earlier, members, found, reporter)
        issues = checked.issues if checked else []
        statistics = checked.statistics if checked else []
        drifted = drift_of(batch, members, statistics, reporter, options.seed) if batch else None
        reporter.stage("looking for duplicates")
        codes_NT, plain_N = (checked.codes_NT, checked.plain_N) if checked else (None, None)
        same = find_same(members, found.grouping, options.duplicates, reporter, options.seed, codes_NT, plain_N)
        selected = diverse(pooled, options.select, closest=same.threshold, seed=options.seed) if options.select else []
    if len(selected) < options.select:
        reporter.line(f"--select {options.select:,}: without copies there are {len(selected):,} images, all selected")
    oddness = joined_outlier_score(*distances)
    findings = Findings(found, ids, oddness, placed, same, issues, selected, labels, drifted)
    outcome = result_of(options, members, findings)
    older = options.older()
    files = _write(options, members, findings, outcome, reporter)
    if older:
        reporter.warn(f"{', '.join(map(str, older))} are of an earlier command, not of these groups")
    return replace(outcome, files=files, seconds=time.monotonic() - began)


def _ids(
    options: ClusterOptions,
    earlier: dict[str, int],
    members: FeatureFile,
    found: FoundGroups,
    reporter: ProgressReporter,
) -> list[int]:
    """Return the number of each group: by size, or matched to an earlier table."""
    groups = len(found.grouping.sizes_K)
    if not options.ids_from:
        return list(range(groups))
    keys = row_keys(members)
    shared = sum(key in earlier for key in keys)
    text = f"groups are numbered as in {options.ids_from}, by the names of {shared:,} of {len(members):,} images"
    (reporter.line if shared else reporter.warn)(text)
    return stable_ids(earlier, keys, found.grouping.label_N, groups)


def _write(
    options: ClusterOptions,
    members: FeatureFile,
    findings: Findings,
    outcome: ClusterResult,
    reporter: ProgressReporter,
) -> list[Path]:
    """Write all files, the page last because it takes longest, and replace older ones together."""
    table, done = options.table, list[Path]()
    reporter.stage("writing tables and page")
    thumbnails = thumbnail_folder(options.page or table)
    with FileSet(table, [thumbnails.name]) as files:

        def new(path: Path) -> Path:
            done.append(path)
            return files.new(path)

        if options.page and thumbnails.parent == table.parent:
            files.drop(thumbnails)  # thumbnails of an earlier page; the new page may embed all thumbnails
        write_clusters(new(table), members, findings, outcome.clusters)
        if options.duplicates:
            write_pairs(new(options.beside(DUPLICATES)), members, findings.same.pairs)
            write_duplicate_groups(new(options.beside(DUPLICATE_GROUPS)), members, findings.same.groups)
        if options.checks:
            write_issues(new(options.beside(ISSUES)), members, findings.issues)
        if findings.drifted:
            write_drift(new(options.beside(DRIFT)), findings.drifted.batch, findings.drifted.features.score_M)
        if options.select:
            write_selected(new(options.beside(SELECTED)), members, findings.selected)
        if options.link_dir and members.root:
            done.append(Path(options.link_dir))
            labels_N, more = findings.number_N, {"copy": options.copy, "follow_links": options.follow_links}
            failed = write_tree(files.new(_tree(options)), members.root, members.names, labels_N, **more)
            if failed:
                reporter.warn(f"{len(failed)} images are not in {options.link_dir}: {failed[0][0]}: {failed[0][1]}")
        if options.coco:
            path, root, tags = new(Path(options.coco)), str(members.root or ""), image_tags(findings)
            write_image_coco(path, root, members.names, tags, boxes=members.boxes, reporter=reporter)
        if options.sheet:
            titles = [f"{group.cluster} · {group.name}: {group.size:,}" for group in outcome.clusters]
            write_cluster_sheet(new(Path(options.sheet)), members, findings.groups.grouping, titles)
        if options.page and (options.report or members.root):
            done.append(options.page)
            write_page(options.page, files, members, findings, outcome, reporter, options.seed)
        files.commit()
    return done


def _tree(options: ClusterOptions) -> Path:
    """Return the real path of the link folder: if it is a symbolic link, its target is replaced and the link stays."""
    return Path(os.path.realpath(options.link_dir))
