"""Clustering without centres: HDBSCAN and agglomerative clustering.

Both compare pairs of images, so they run on small sets, or on a sample to whose clusters the other images are assigned.

Shapes: N images, D width, S sampled images.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN, AgglomerativeClustering

from dinocli.errors import UsageError
from dinocli.quality.grouping import NO_CLUSTER
from dinocli.quality.normalized_features import NormalizedFeatures

HDBSCAN_ROWS = 20_000
"""Size of the sample. The time grows with its square: 12 s for 20,000 rows of 50 values."""
HDBSCAN_WIDTH = 50
"""Width of its input. In hundreds of dimensions all neighbours are about equally far, and it is ten times slower."""
AGGLOMERATIVE_ROWS = 10_000
"""Maximum number of rows. The distance matrix then takes 400 MB, and grows with the square."""


def hdbscan(rows: NormalizedFeatures, *, min_size: int, seed: int = 0) -> NDArray[np.intp]:
    """Find dense clusters of any shape; images between them are noise.

    Above 20,000 rows a sample is clustered, with `min_size` scaled down, and every other row takes the label of the
    nearest sampled row, noise included.

    Args:
        rows: Features, at most `HDBSCAN_WIDTH` wide for speed.
        min_size: Smallest cluster, images, 2 or more.
        seed: Seed of the sample.

    Returns:
        Labels, shape (N,); -1 for noise.

    Source: Campello et al. 2013; scikit-learn's implementation.
    """
    if len(rows) == 1:
        return np.full(1, NO_CLUSTER, np.intp)  # scikit-learn needs two rows
    chosen_S = rows.sample(HDBSCAN_ROWS, seed)
    sampled_SD = rows.take(chosen_S)
    scaled_size = max(2, round(min_size * len(chosen_S) / len(rows)))
    label_S = HDBSCAN(min_cluster_size=min(scaled_size, len(chosen_S)), copy=True).fit_predict(sampled_SD)
    if len(chosen_S) == len(rows):
        return np.asarray(label_S, np.intp)
    nearest = rows.map(lambda part, rows_RD: (rows_RD @ sampled_SD.T).argmax(axis=1))
    return np.asarray(label_S[np.concatenate(list(nearest))], np.intp)


def agglomerative(rows: NormalizedFeatures, k: int) -> NDArray[np.intp]:
    """Merge the two nearest clusters by Ward's criterion until k are left.

    Args:
        rows: Features of at most 10,000 images.
        k: Number of clusters, at most N.

    Returns:
        Labels, shape (N,).

    Raises:
        UsageError: More than 10,000 rows.
    """
    if len(rows) > AGGLOMERATIVE_ROWS:
        raise UsageError(
            f"--method agglomerative compares all pairs and takes at most {AGGLOMERATIVE_ROWS:,} images, "
            f"not {len(rows):,}; use --method kmeans"
        )
    if len(rows) == 1:
        return np.zeros(1, np.intp)
    return np.asarray(AgglomerativeClustering(k, linkage="ward").fit_predict(rows.take(slice(None))), np.intp)
