"""Is another batch of images like the one that is grouped?"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dinocli.engine.progress import ProgressReporter
from dinocli.errors import DataError
from dinocli.quality.drift import Drift, drift
from dinocli.tasks.cluster.cluster_inputs import ClusterInputs
from dinocli.tasks.feature_file import open_features
from dinocli.tasks.same_features import check_comparable


class DriftedBatch(NamedTuple):
    """Another batch, compared with the one that is grouped.

    Args:
        result: Of the tests; its scores are those of the names.
        names: Images of the other batch.
    """

    result: Drift
    names: list[str]


def drift_of(path: Path, members: ClusterInputs, reporter: ProgressReporter, seed: int = 0) -> DriftedBatch:
    """Compare another feature file with the images, and say whether it differs.

    Raises:
        WeightsError: It cannot be read, or was made in another way.
        DataError: One of the two has fewer than two usable rows.
    """
    other = open_features(path)
    check_comparable(other, members.source)
    rows_MD = np.asarray(other.flat(), np.float32)
    kept = np.flatnonzero(np.isfinite(rows_MD).all(axis=1))
    if min(len(kept), len(members)) < 2:
        raise DataError(f"--drift compares at least 2 images with 2; {path} has {len(kept)}, the other {len(members)}")
    if rows_MD.shape[1] != members.features_ND.shape[1]:
        raise DataError(f"{path} has {rows_MD.shape[1]} values a row, the other {members.features_ND.shape[1]}")
    found = drift(members.features_ND, rows_MD[kept], seed=seed)
    words = "differs from the old one" if found.differs else "shows no difference from the old one"
    reporter.line(
        f"drift: the new batch {words} (p = {found.p:.3f}; a classifier tells them apart in {found.accuracy:.0%}, "
        f"p = {found.accuracy_p:.3f}; MMD {found.mmd:.4f}, p = {found.mmd_p:.3f})"
    )
    return DriftedBatch(found, [other.names[row] for row in kept.tolist()])
