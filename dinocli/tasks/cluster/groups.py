"""Cluster features: choice of k, method, minimum group size."""

from typing import NamedTuple

from dinocli.errors import UsageError
from dinocli.progress import ProgressReporter
from dinocli.quality.auto_k import KScore, choose_k
from dinocli.quality.grouping import Grouping, group_by_centres, group_by_labels, without_small_groups
from dinocli.quality.hdbscan import agglomerative, hdbscan
from dinocli.quality.kmeans import unit_kmeans
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.whitening import fit_projection, fit_whitening
from dinocli.tasks.cluster.cluster_options import AUTO, ClusterOptions


class FoundGroups(NamedTuple):
    """Groups and the reason for their number.

    Args:
        grouping: Groups of the rows.
        clear: Whether the data show groups; None if not tested.
        reason: Reason for the number of groups.
        curve: Scores of each number of groups that `-k auto` tried.
    """

    grouping: Grouping
    clear: bool | None
    reason: str
    curve: list[KScore]


def find_groups(rows: NormalizedFeatures, options: ClusterOptions, reporter: ProgressReporter) -> FoundGroups:
    """Cluster the rows by the method and number of groups of the options.

    Raises:
        UsageError: More groups than images, or too many images for the method.
    """
    if options.k > len(rows):
        raise UsageError(f"-k {options.k} asks for more groups than there are images ({len(rows)})")
    if options.width or options.whiten:
        fit = fit_whitening if options.whiten else fit_projection
        rows = NormalizedFeatures(rows.features_ND, fit(rows, options.width, seed=options.seed), rows.threads)
    if options.method == "hdbscan":
        least = options.least(len(rows))
        grouping = group_by_labels(rows, hdbscan(rows, min_size=least, seed=options.seed))
        count = len(grouping.sizes_K)
        return FoundGroups(grouping, count > 0, f"{count} dense groups of at least {least} images", [])
    if options.k == AUTO:
        reporter.stage("choosing the number of groups")
        choice = choose_k(rows, seed=options.seed)
        (reporter.line if choice.clear else reporter.warn)(choice.reason)
        reporter.stage("grouping")
        return FoundGroups(_grouped(rows, choice.k, options), choice.clear, choice.reason, choice.curve)
    return FoundGroups(_grouped(rows, options.k, options), None, f"k = {options.k} as given", [])


def _grouped(rows: NormalizedFeatures, k: int, options: ClusterOptions) -> Grouping:
    if options.method == "agglomerative":
        grouping = group_by_labels(rows, agglomerative(rows, k))
    else:
        grouping = group_by_centres(rows, unit_kmeans(rows, k, seed=options.seed).centres_KD)
    return without_small_groups(rows, grouping, options.least(len(rows)))
