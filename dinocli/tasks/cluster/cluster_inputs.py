"""Input of `cluster`: the finite rows of a feature file and their pooled part."""

from typing import BinaryIO

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.progress import ProgressReporter
from dinocli.quality.normalized_features import BLOCK_ROWS
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.feature_inputs import open_or_embed, takes_features, usable_rows


def open_members(options: ClusterOptions, reporter: ProgressReporter, stdin: BinaryIO | None) -> FeatureFile:
    """Open the given features, or compute them from images.

    Raises:
        DinocliError: There are no features, or they cannot be used.
    """
    members = members_of(open_or_embed(options, reporter, stdin), reporter)
    if takes_features(options):  # else `embed` has counted them
        warn_of_zero_rows(members, reporter)
    if missing_root(members):
        reporter.warn("without the images there are no copies, issues and pictures")
    return members


def members_of(source: FeatureFile, reporter: ProgressReporter) -> FeatureFile:
    """Return the finite rows of a feature file, with their pooled part computed.

    Raises:
        DataError: No row is finite.
        WeightsError: The file holds patch tokens, or the fitted transform of its features is damaged.
    """
    file = usable_rows(source, reporter)
    if missing := file.missing_state():
        reporter.warn(missing)
    file.pooled_ND  # noqa: B018 - computed now, so that damaged state is named before any long work
    return file


def warn_of_zero_rows(file: FeatureFile, reporter: ProgressReporter) -> None:
    """Warn of rows of zeros, as `embed` does."""
    rows_ND = file.flat()
    starts = range(0, len(rows_ND), BLOCK_ROWS)
    zero = sum(int((~rows_ND[start : start + BLOCK_ROWS].any(axis=1)).sum()) for start in starts)
    if zero:
        rows = f"{zero:,} of {len(file):,} rows of {file.path}"
        reporter.warn(f"{rows} are zero, so these images are similar to no other; embed again with a larger --size")


def missing_root(file: FeatureFile) -> str:
    """Return a message if the recorded folder of the images is missing; else empty."""
    named = file.meta.get("root", "")
    return f"their folder {named} is gone" if named and file.root is None else ""
