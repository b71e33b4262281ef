"""Input of `cluster`: the finite rows of a feature file and their pooled part.

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
    """The finite rows of a feature file.

    Args:
        pooled_ND: Pooled part of the features, not whitened, for duplicates and outliers; all values if there is no
            other part.
        dropped: Number of rows that are not finite.
    """

    pooled_ND: NDArray[np.floating]
    dropped: int

    def missing_root(self) -> str:
        """Return a message if the recorded folder of the images is missing; else empty."""
        named = self.meta.get("root", "")
        return f"their folder {named} is gone" if named and self.root is None else ""


def open_members(options: ClusterOptions, reporter: ProgressReporter, stdin: BinaryIO | None) -> ClusterInputs:
    """Open the given features, or compute them from images.

    Raises:
        DinocliError: There are no features, or they cannot be used.
    """
    members = members_of(open_or_embed(options, reporter, stdin), reporter)
    if gone := members.missing_root():
        reporter.warn(f"without the images there are no copies, issues and pictures: {gone}")
    return members


def members_of(source: FeatureFile, reporter: ProgressReporter) -> ClusterInputs:
    """Return the finite rows of a feature file and their pooled part; report the number of dropped rows.

    Raises:
        DataError: No row is finite.
        WeightsError: The file holds patch tokens, or the fitted transform of its features is damaged.
    """
    file = usable_rows(source, reporter)
    pooled_ND, dropped = pooled_rows(file, reporter.warn), len(source) - len(file)
    return ClusterInputs(file.path, file.rows, file.names, file.meta, file.boxes, pooled_ND=pooled_ND, dropped=dropped)
