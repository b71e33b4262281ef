"""From features to groups: the number of groups, the method, the smallest size."""

from typing import NamedTuple

import numpy as np

from dinocli.errors import UsageError
from dinocli.progress import ProgressReporter
from dinocli.quality.auto_k import KScore, choose_k
from dinocli.quality.density import agglomerative, hdbscan
from dinocli.quality.grouping import NO_CLUSTER, Grouping, group_by_centres, group_by_labels
from dinocli.quality.normalized_features import NormalizedFeatures, fit_projection, fit_whitening
from dinocli.quality.spherical_kmeans import unit_kmeans
from dinocli.tasks.cluster.cluster_options import AUTO, ClusterOptions


class FoundGroups(NamedTuple):
    """Groups, and the reason for their number.

    Args:
        grouping: The groups.
        clear: Whether the data show groups; None if not tested.
        reason: Reason for their number.
        curve: Scores of each number of groups that `-k auto` tried.
    """

    grouping: Grouping
    clear: bool | None
    reason: str
    curve: list[KScore]


def find_groups(rows: NormalizedFeatures, options: ClusterOptions, reporter: ProgressReporter) -> FoundGroups:
    """Group the rows as the options say.

    Raises:
        UsageError: More groups than images, or too many images for the method.
    """
    if options.k > len(rows):
        raise UsageError(f"-k {options.k} asks for more groups than the {len(rows)} images that there are")
    if options.width or options.whiten:
        fit = fit_whitening if options.whiten else fit_projection
        rows = NormalizedFeatures(rows.features_ND, fit(rows, options.width, seed=options.seed), rows.threads)
    if options.method == "hdbscan":
        least = options.least(len(rows))
        grouping = group_by_labels(rows, hdbscan(rows, min_size=least, seed=options.seed))
        count = len(grouping.sizes_K)
        return FoundGroups(grouping, count > 0, f"{count} dense groups of at least {least} images", [])
    if options.k == AUTO:
        reporter.stage(f"looking for the number of groups in {min(len(rows), 2000)} images")
        choice = choose_k(rows, seed=options.seed)
        (reporter.line if choice.clear else reporter.warn)(choice.reason)
        reporter.stage("grouping")
        return FoundGroups(_grouped(rows, choice.k, options), choice.clear, choice.reason, choice.curve)
    return FoundGroups(_grouped(rows, options.k, options), None, f"k = {options.k} was asked for", [])


def _grouped(rows: NormalizedFeatures, k: int, options: ClusterOptions) -> Grouping:
    if options.method == "agglomerative":
        found = group_by_labels(rows, agglomerative(rows, k))
    else:
        found = group_by_centres(rows, unit_kmeans(rows, k, seed=options.seed).centres_KD)
    return _without_small(rows, found, options.least(len(rows)))


def _without_small(rows: NormalizedFeatures, found: Grouping, least: int) -> Grouping:
    """Dissolve groups that are too small: their images are in no group."""
    if not found.sizes_K or min(found.sizes_K) >= least:
        return found
    small_N = np.array(found.sizes_K)[found.label_N] < least
    return group_by_labels(rows, np.where(small_N, NO_CLUSTER, found.label_N))
