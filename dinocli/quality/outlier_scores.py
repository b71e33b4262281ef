"""Outlier scores of images: k-NN distance of features, combined with the distance of image statistics.

Whitened leading directions find fewer odd images: those of another domain depart from the folder in directions of small
variance. The statistics count half, since a folder may be of mixed light.

Shapes: N images, D width, R rows of a block, S sampled images, T statistics.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import MinCovDet

from dinocli.quality.image_statistics import APPEARANCE, ImageStatistics, robust_scores
from dinocli.quality.normalized_features import NormalizedFeatures

NEIGHBOURS, NEIGHBOUR_ROWS = 10, 4096
"""Neighbours, and maximum number of images among which they are searched."""

_WEIGHTS = (1.0, 0.5)  # of features and of image statistics

_FIT_ROWS, _CLIP, _JITTER = 2000, 6.0, 0.05  # images of the covariance fit, robust deviations, noise in deviations
_MIN_SQUARED = 1e-6  # squared distance of equal features by rounding in float32
_MIN_APPEARANCE = len(APPEARANCE) * _JITTER**2  # of images with equal statistics
_MIN_SPREAD = 1e-6  # of log distances that differ by more than rounding


def neighbour_distance(rows: NormalizedFeatures, *, seed: int = 0) -> NDArray[np.float64]:
    """Return the mean squared distance of each image to its 10 nearest neighbours, (N,), 0 to 4; equal for equal rows.

    Args:
        rows: Features of the images, without a projection.
        seed: Seed of the sample of neighbours, used for more than 4,096 images.

    Source: Ramaswamy et al. 2000 (outliers by k-NN distance); here of L2-normalised features.
    """
    if len(rows) < 3:
        return np.ones(len(rows))
    chosen_S = rows.sample(NEIGHBOUR_ROWS, seed)
    sampled_SD = rows.take(chosen_S)
    count = min(NEIGHBOURS, len(chosen_S) - 1)

    def of_block(part: slice, units_RD: NDArray[np.float32]) -> tuple[NDArray[np.float64], list[int]]:
        squared_RS = 2 - 2 * units_RD @ sampled_SD.T
        own_S = (chosen_S >= part.start) & (chosen_S < part.stop)
        squared_RS[chosen_S[own_S] - part.start, np.flatnonzero(own_S)] = np.inf
        squared_RS.partition(count - 1, axis=1)
        squared_R = np.maximum(squared_RS[:, :count].mean(axis=1), _MIN_SQUARED).astype(np.float64)
        return squared_R, [hash(unit_D.tobytes()) for unit_D in units_RD]

    squared_N, keys = (np.concatenate(parts) for parts in zip(*rows.map(of_block), strict=True))
    # Rounding differs by the position in a block, and a copy outside the sample has its original as a neighbour.
    _, first_M, which_N = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(squared_N[first_M[which_N]], np.float64)


def appearance_distance(statistics_N: list[ImageStatistics], *, seed: int = 0) -> NDArray[np.float64]:
    """Return the robust squared Mahalanobis distance of the statistics of each image, (N,).

    Args:
        statistics_N: Statistics of each image.
        seed: Seed of the covariance fit.

    Source: Rousseeuw and Van Driessen 1999 (minimum covariance determinant: outliers do not inflate the covariance).
    """
    table_NT = np.array([[getattr(image, name) for name in APPEARANCE] for image in statistics_N])
    score_NT = np.stack([robust_scores(column_N) for column_N in table_NT.T], axis=1).clip(-_CLIP, _CLIP)
    random = np.random.default_rng(seed)
    if len(score_NT) < 5 * len(APPEARANCE):
        return np.asarray(np.maximum((score_NT**2).sum(axis=1), _MIN_APPEARANCE), np.float64)
    # Noise makes the covariance regular where statistics are linearly dependent (grey images). Only the fit has it:
    # equal images have equal distances.
    noisy_NT = score_NT + _JITTER * random.standard_normal(score_NT.shape)
    chosen = random.permutation(len(noisy_NT))[:_FIT_ROWS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a determinant that increases by rounding
        fitted = MinCovDet(random_state=seed, support_fraction=0.75).fit(noisy_NT[chosen])
    return np.asarray(np.maximum(fitted.mahalanobis(score_NT), _MIN_APPEARANCE), np.float64)


def joined_outlier_score(*distances: NDArray[np.floating]) -> NDArray[np.float32]:
    """Combine distances of features and of statistics to one outlier score, (N,); 0 is the median.

    The score is the weighted mean of the standardised log distances; 0 for all where they are equal.
    """
    logs = [np.log(np.maximum(distance_N, 1e-12)) for distance_N in distances]
    scores = [
        (log_N - np.median(log_N)) / spread if (spread := float(log_N.std())) > _MIN_SPREAD else np.zeros(len(log_N))
        for log_N in logs
    ]
    return np.asarray(np.average(scores, axis=0, weights=_WEIGHTS[: len(scores)]), np.float32)
