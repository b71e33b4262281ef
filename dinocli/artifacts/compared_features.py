"""Features of the images that a comparison of two feature files uses.

Shapes: N images, M a subset of them, D width.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.quality.normalized_features import NormalizedFeatures, Projection
from dinocli.quality.whitening import fit_whitening


@dataclass(frozen=True)
class ComparedFeatures:
    """Features of N images, as one side of a comparison.

    Args:
        title: Name in tables.
        file: The feature file, with all rows.
        rows_N: Rows of the file that are compared.
        whitening: Applied to the features, fitted to `rows_N`; None: no whitening.
    """

    title: str
    file: FeatureFile
    rows_N: NDArray[np.intp]
    whitening: Projection | None = None

    def features(self, index_M: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return features, (M, D), whitened if there is a whitening; `index_M` indexes `rows_N`."""
        return self.whitened(np.asarray(self.file.flat()[self.rows_N[index_M]], np.float32))

    def pooled(self, index_M: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return pooled features, (M, D), not whitened: `SAME_COSINE` holds for pooled features only."""
        return np.asarray(self.file.pooled_ND[self.rows_N[index_M]], np.float32)

    def whitened(self, features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whiten features of the same weights; without a whitening return them unchanged."""
        return (
            features_ND if self.whitening is None else NormalizedFeatures(features_ND, self.whitening).take(slice(None))
        )

    def with_whitening(self, seed: int) -> "ComparedFeatures":
        """Return a copy with a whitening fitted to `rows_N`."""
        whitening = fit_whitening(NormalizedFeatures(self.file.flat()), among_M=self.rows_N, seed=seed)
        return replace(self, title=f"{self.title}, whitened", whitening=whitening)
