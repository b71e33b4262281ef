"""Drift test (`--drift`): compare another batch of images by features and by appearance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dinocli.artifacts.feature_differences import check_comparable
from dinocli.artifacts.feature_file import FeatureFile
from dinocli.errors import DataError
from dinocli.progress import ProgressReporter
from dinocli.quality.drift import LEVEL, Drift, drift
from dinocli.quality.image_statistics import APPEARANCE, ImageStatistics
from dinocli.tasks.cluster.cluster_inputs import members_of, warn_of_zero_rows
from dinocli.tasks.cluster.image_checks import picture_statistics
from dinocli.tasks.feature_inputs import open_stored

_MIN_IMAGES = 10  # per batch, to compare appearance


class DriftedBatch(NamedTuple):
    """Comparison of another batch with the clustered images.

    Args:
        batch: The other batch.
        features: Test on features, with a score of each image of the batch.
        appearance: Test on brightness, colour and sharpness; None if the images are not available.
    """

    batch: FeatureFile
    features: Drift
    appearance: Drift | None

    @property
    def p(self) -> float:
        """Return the p-value of all tests, Bonferroni-corrected."""
        p_values = [self.features.p, *([self.appearance.p] if self.appearance else [])]
        return min(1.0, len(p_values) * min(p_values))

    @property
    def verdict(self) -> str:
        outcome = "differs from the old one" if self.p < LEVEL else "shows no difference from the old one"
        appearance = f", appearance {self.appearance.p:.3f}" if self.appearance else ""
        return f"the new batch {outcome} (p = {self.p:.3f}: features {self.features.p:.3f}{appearance})"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data without the image names."""
        appearance = self.appearance.to_dict() if self.appearance else None
        return {"p": self.p, "differs": self.p < LEVEL, "features": self.features.to_dict(), "appearance": appearance}


def open_batch(path: Path, members: FeatureFile, reporter: ProgressReporter) -> FeatureFile:
    """Open the feature file of another batch.

    Raises:
        WeightsError: The file cannot be read, or its features are not comparable to those of `members`.
        DataError: One of the two has fewer than two usable rows.
    """
    other = open_stored(path, reporter)
    check_comparable(other, members)
    batch = members_of(other, reporter)
    warn_of_zero_rows(batch, reporter)
    if min(len(batch), len(members)) < 2:
        raise DataError(f"--drift compares at least 2 images with 2; {path} has {len(batch)}, the other {len(members)}")
    if batch.flat().shape[1] != members.flat().shape[1]:
        raise DataError(f"{path} has {batch.flat().shape[1]} values a row, the other {members.flat().shape[1]}")
    return batch


def drift_of(
    batch: FeatureFile,
    members: FeatureFile,
    statistics: Sequence[ImageStatistics],
    reporter: ProgressReporter,
    seed: int = 0,
) -> DriftedBatch:
    """Test whether another batch differs from the clustered images.

    Args:
        batch: The other batch, from `open_batch`.
        members: The clustered images.
        statistics: Pixel statistics of `members`; empty skips the test on appearance.
        reporter: Receives the result.
        seed: Random seed of samples and permutations.
    """
    features = drift(members.pooled_ND, batch.pooled_ND, seed=seed)  # pooled features are not fitted to either batch
    result = DriftedBatch(batch, features, _appearance(batch, statistics, reporter, seed))
    reporter.line(f"drift: {result.verdict}")
    return result


def _appearance(
    batch: FeatureFile, statistics: Sequence[ImageStatistics], reporter: ProgressReporter, seed: int
) -> Drift | None:
    """Test brightness, colour and sharpness if both batches are available; features hardly depend on brightness."""
    if not statistics or batch.root is None or batch.boxes is not None:
        return None
    others = picture_statistics(batch, reporter)
    if min(len(statistics), len(others)) < _MIN_IMAGES:
        return None
    batches = (statistics, others)
    old, new = (np.array([[getattr(image, name) for name in APPEARANCE] for image in images]) for images in batches)
    return drift(old, new, directions_only=False, seed=seed)
