"""Features of images that take part in a comparison.

Shapes: N images that take part, D width.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.artifacts.pooled_rows import pooled_rows
from dinocli.quality.normalized_features import NormalizedFeatures, Projection, fit_whitening


@dataclass(frozen=True)
class ComparedFeatures:
    """One set of features of the images that take part.

    Args:
        title: Name in tables.
        file: The feature file, with all rows.
        rows_N: Rows that take part.
        whitening: Applied to its features, fitted to those that take part; None leaves them as they are.
    """

    title: str
    file: FeatureFile
    rows_N: NDArray[np.intp]
    whitening: Projection | None = None

    def features(self, chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the features of some of the images that take part, by their places among them."""
        return self.whitened(np.asarray(self.file.flat()[self.rows_N[chosen]], np.float32))

    def pooled(self, chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return their pooled part, not whitened: `SAME_COSINE` holds for pooled features only."""
        return np.asarray(self._pooled_ND[self.rows_N[chosen]], np.float32)

    @cached_property
    def _pooled_ND(self) -> NDArray[np.floating]:
        return pooled_rows(self.file)

    def whitened(self, features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whiten features of these weights, if that was asked for."""
        return (
            features_ND if self.whitening is None else NormalizedFeatures(features_ND, self.whitening).take(slice(None))
        )

    def with_whitening(self, seed: int) -> "ComparedFeatures":
        """Fit a whitening to the images that take part."""
        whitening = fit_whitening(NormalizedFeatures(self.file.flat()), among_M=self.rows_N, seed=seed)
        return replace(self, title=f"{self.title}, whitened", whitening=whitening)
