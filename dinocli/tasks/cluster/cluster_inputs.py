"""The images to group: a feature file with its finite rows and their pooled part.

Shapes: N images, D width.
"""

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.artifacts.pooled_rows import pooled_rows
from dinocli.progress import ProgressReporter
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.feature_inputs import open_or_embed, usable_rows


@dataclass(frozen=True, kw_only=True)
class ClusterInputs(FeatureFile):
    """The rows of a feature file that can be grouped: finite ones.

    Args:
        pooled_ND: Their pooled part, not whitened, for copies and odd images; the same where there is no other part.
        dropped: Rows that were left out.
    """

    pooled_ND: NDArray[np.floating]
    dropped: int

    def missing_root(self) -> str:
        """Say that the folder of the images is gone; empty where it is there or was never known."""
        named = self.meta.get("root", "")
        return f"their folder {named} is gone" if named and self.root is None else ""


def open_members(options: ClusterOptions, reporter: ProgressReporter, stdin: BinaryIO | None) -> ClusterInputs:
    """Open the features that were asked for, or compute them.

    Raises:
        DinocliError: There are none, or they cannot be used.
    """
    members = members_of(open_or_embed(options, reporter, stdin), reporter)
    if gone := members.missing_root():
        reporter.warn(f"the images cannot be looked at, for copies, issues and pictures: {gone}")
    return members


def members_of(source: FeatureFile, reporter: ProgressReporter) -> ClusterInputs:
    """Take the finite rows of a feature file, and their pooled part; what is left out is told.

    Raises:
        DataError: No row is finite.
        WeightsError: It holds patch tokens, or what its features were fitted to is damaged.
    """
    file = usable_rows(source, reporter)
    pooled_ND, dropped = pooled_rows(file, reporter.warn), len(source) - len(file)
    return ClusterInputs(file.path, file.rows, file.names, file.meta, file.boxes, pooled_ND=pooled_ND, dropped=dropped)
