"""Is another batch of images like the one that is grouped, by its features and by its looks?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dinocli.artifacts.feature_file import open_features
from dinocli.errors import DataError
from dinocli.progress import ProgressReporter
from dinocli.quality.drift import LEVEL, Drift, drift
from dinocli.quality.image_statistics import APPEARANCE, ImageStatistics
from dinocli.tasks.cluster.cluster_inputs import ClusterInputs, members_of
from dinocli.tasks.cluster.image_checks import measure_images
from dinocli.tasks.feature_inputs import check_comparable

_FEWEST = 10  # images of a batch whose looks are compared


class DriftedBatch(NamedTuple):
    """Another batch, compared with the one that is grouped.

    Args:
        names: Images of the other batch.
        features: The tests on features; its scores are those of the names.
        looks: The tests on light, colour and sharpness; None where images are not at hand.
    """

    names: list[str]
    features: Drift
    looks: Drift | None

    @property
    def p(self) -> float:
        """Return the p-value of all tests together."""
        found = [self.features.p, *([self.looks.p] if self.looks else [])]
        return min(1.0, len(found) * min(found))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data, without the images."""
        looks = self.looks.to_dict() if self.looks else None
        return {"p": self.p, "differs": self.p < LEVEL, "features": self.features.to_dict(), "looks": looks}


def drift_of(
    path: Path,
    members: ClusterInputs,
    statistics: Sequence[ImageStatistics],
    reporter: ProgressReporter,
    seed: int = 0,
) -> DriftedBatch:
    """Compare another feature file with the images, and say whether it differs.

    Args:
        path: The feature file.
        members: The images that are grouped.
        statistics: Statistics of them; empty leaves the looks out.
        reporter: Receives the answer.
        seed: Random seed of samples and permutations.

    Raises:
        WeightsError: It cannot be read, or was made in another way.
        DataError: One of the two has fewer than two usable rows.
    """
    other = open_features(path)
    check_comparable(other, members)
    batch = members_of(other, reporter)
    if min(len(batch), len(members)) < 2:
        raise DataError(f"--drift compares at least 2 images with 2; {path} has {len(batch)}, the other {len(members)}")
    if batch.flat().shape[1] != members.flat().shape[1]:
        raise DataError(f"{path} has {batch.flat().shape[1]} values a row, the other {members.flat().shape[1]}")
    features = drift(members.pooled_ND, batch.pooled_ND, seed=seed)  # of pooled ones: nothing is fitted to one batch
    found = DriftedBatch(batch.names, features, _looks(batch, statistics, reporter, seed))
    words = "differs from the old one" if found.p < LEVEL else "shows no difference from the old one"
    looks = f", of looks {found.looks.p:.3f}" if found.looks else ""
    reporter.line(f"drift: the new batch {words} (p = {found.p:.3f}; of features {features.p:.3f}{looks})")
    return found


def _looks(
    batch: ClusterInputs, statistics: Sequence[ImageStatistics], reporter: ProgressReporter, seed: int
) -> Drift | None:
    """Compare light, colour and sharpness, where both batches are at hand: features hardly see a change of light."""
    if not statistics or batch.root is None or batch.boxes is not None:
        return None
    others = [one for one in measure_images(batch, reporter) if one is not None]
    if min(len(statistics), len(others)) < _FEWEST:
        return None
    batches = (statistics, others)
    old, new = (np.array([[getattr(one, name) for name in APPEARANCE] for one in seen]) for seen in batches)
    return drift(old, new, directions_only=False, seed=seed)
