"""PCA projection and whitening of normalised features.

Shapes: D width of the file, P directions, R rows of the sample, M chosen rows.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import DataError
from dinocli.quality.normalized_features import NormalizedFeatures, Projection, sample_indices

FIT_VALUES = 1 << 23  # 64 MiB in float64, 20,000 rows of 400 values: enough to estimate principal directions

FLOOR = 0.06
"""Floor of a whitening, a share of the variance of the rows. With less, 20-shot gains where classes are small details,
and 5-shot loses where the directions of highest energy tell the classes apart."""

MEAN_WEIGHT = 0.5
"""Weight of the mean's energy in a whitening. With 1 the mean shrinks so far that the mean of a few rows of a class is
mostly noise (5-shot falls where one class is most of the folder); with 1/4 and less, k-NN accuracy falls."""

_MIN_VARIANCE_SHARE = 1e-6  # of the largest variance, or of the energy of rows: smaller variances are rounding


def fit_projection(rows: NormalizedFeatures, width: int, *, seed: int = 0) -> Projection:
    """Fit a PCA projection to (a sample of) the rows.

    Args:
        rows: Features without a projection.
        width: Number of directions; fewer where the rows vary in fewer.
        seed: Seed of the sample.
    """
    sample_RD = _fitting_sample(rows, seed)
    mean_D = sample_RD.mean(axis=0)
    axes_DP, variance_P = _directions(sample_RD - mean_D)
    kept = _kept(variance_P, width)
    return Projection(mean_D.astype(np.float32), axes_DP[:, :kept].astype(np.float32))


def fit_whitening(
    rows: NormalizedFeatures, width: int = 0, *, among_M: NDArray[np.intp] | None = None, seed: int = 0
) -> Projection:
    """Fit a whitening with a floor: it scales down the few directions that hold most of the energy of a folder.

    In a folder of one kind of image most of the energy of a feature describes that kind, not the single image. Nothing
    is subtracted: the mean is one of the directions that are scaled down (`whitening_directions`).

    Args:
        rows: Features without a projection.
        width: Number of directions, highest energy first; 0 keeps all.
        among_M: Indices of the rows to fit to; None for all. Non-finite rows are ignored.
        seed: Seed of the sample.

    Raises:
        DataError: No row is finite.
    """
    axes_DP, scale_P = whitening_directions(_fitting_sample(rows, seed, among_M), width)
    return Projection(np.zeros(len(axes_DP), np.float32), (axes_DP * scale_P).astype(np.float32))


def whitening_directions(
    sample_RD: NDArray[np.float64], width: int = 0, *, floor: float = FLOOR, mean_weight: float = MEAN_WEIGHT
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the orthonormal directions of a whitening as columns, and the factor of each, highest energy first.

    The energy of a direction is its variance plus `mean_weight` times the square of its component of the mean. It is
    multiplied by 1 / sqrt(1 + energy / (`floor` x total variance)): directions far below the floor, mostly noise, stay
    as they are, and so do those outside the sample.

    Args:
        sample_RD: L2-normalised rows; non-finite ones are ignored.
        width: Number of directions to keep; 0 keeps all.
        floor: Share of the total variance.
        mean_weight: 1 takes the energy as it is; 0 ignores the mean.

    Raises:
        DataError: No row is finite.

    Source: Jegou and Chum 2012, ECCV, section 3.2 (whitened features for retrieval). Departs: the floor; and the mean
        is shrunk, not subtracted, since class means of few rows become unstable where it is gone.
    """
    finite_RD = sample_RD[np.isfinite(sample_RD).all(axis=1)]
    if not len(finite_RD):
        raise DataError("no row is finite, so there is nothing to whiten by")
    mean_D = finite_RD.mean(axis=0)
    centred_RD = finite_RD - mean_D
    # One more row, as long as the root of its weight, adds the energy of the mean to that of the centred rows.
    rows_SD = np.concatenate([centred_RD, np.sqrt(mean_weight * len(finite_RD)) * mean_D[None]])
    axes_DP, energy_P = _directions(rows_SD)
    kept = _kept(energy_P, width or len(energy_P))
    energy_P = energy_P[:kept] * len(rows_SD) / len(finite_RD)
    variance = max(float(np.square(centred_RD).sum(axis=1).mean()), _MIN_VARIANCE_SHARE)
    return axes_DP[:, :kept], 1 / np.sqrt(1 + energy_P / (floor * variance))


def _fitting_sample(
    rows: NormalizedFeatures, seed: int, among_M: NDArray[np.intp] | None = None
) -> NDArray[np.float64]:
    among_M = np.arange(len(rows)) if among_M is None else among_M
    max_rows = max(2, FIT_VALUES // rows.features_ND.shape[1])
    return rows.take(among_M[sample_indices(len(among_M), max_rows, seed)]).astype(np.float64)


def _kept(variance_P: NDArray[np.float64], width: int) -> int:
    """Return the number of directions to keep: at most `width`, without those whose variance is rounding."""
    return max(1, int((variance_P[:width] > _MIN_VARIANCE_SHARE * variance_P[0]).sum()))


def _directions(sample_RD: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the principal directions as columns and their energies, both sorted by energy.

    The energy is the mean square, which is the variance of centred rows. Signs are fixed: the largest component of a
    direction is positive. SVD of the rows if they are fewer than the width, else eigenvectors of the second moments.
    """
    if len(sample_RD) < sample_RD.shape[1]:
        _, length_P, axes_PD = np.linalg.svd(sample_RD, full_matrices=False)
        axes_DP, variance_P = axes_PD.T, np.square(length_P) / len(sample_RD)
    else:
        variance_P, axes_DP = np.linalg.eigh(sample_RD.T @ sample_RD / len(sample_RD))
        axes_DP, variance_P = axes_DP[:, ::-1], variance_P[::-1]
    largest_P = np.take_along_axis(axes_DP, np.abs(axes_DP).argmax(axis=0)[None], 0)
    return axes_DP * np.where(largest_P < 0, -1, 1), variance_P
