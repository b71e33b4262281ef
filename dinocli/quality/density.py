"""Groups without a centre: HDBSCAN, which leaves images out, and agglomerative clustering, which merges bottom-up.

Both look at pairs of images, so they are for small sets, or for a sample that the others then follow.

Shapes: N images, D width, S sampled images.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN, AgglomerativeClustering

from dinocli.errors import UsageError
from dinocli.quality.grouping import NONE
from dinocli.quality.normalized_features import NormalizedFeatures

HDBSCAN_ROWS = 20_000
"""The time grows with the square: 12 s for 20,000 rows of 50 values."""
HDBSCAN_WIDTH = 50
"""In hundreds of dimensions all neighbours are about equally far, and it is ten times as slow."""
AGGLOMERATIVE_ROWS = 10_000
"""The matrix of distances is 400 MB then, and grows with the square."""


def hdbscan(rows: NormalizedFeatures, *, min_size: int, seed: int = 0) -> NDArray[np.intp]:
    """Find dense groups of any shape; what lies between them is in no group.

    Above 20,000 rows a sample is clustered, with `min_size` scaled down, and every other row joins the nearest sampled
    row, be it in a group or in none.

    Args:
        rows: Of moderate width, see `HDBSCAN_WIDTH`.
        min_size: Fewest images that are a group, 2 or more.
        seed: Of the sample.

    Returns:
        Labels, shape (N,); -1 for no group.

    Source: Campello et al. 2013; scikit-learn's implementation.
    """
    if len(rows) == 1:
        return np.full(1, NONE, np.intp)  # one image is no dense group, and scikit-learn takes two at least
    chosen_S = rows.sample(HDBSCAN_ROWS, seed)
    sampled_SD = rows.take(chosen_S)
    least = max(2, round(min_size * len(chosen_S) / len(rows)))
    label_S = HDBSCAN(min_cluster_size=min(least, len(chosen_S)), copy=True).fit_predict(sampled_SD)
    if len(chosen_S) == len(rows):
        return np.asarray(label_S, np.intp)
    nearest = rows.map(lambda part, rows_RD: (rows_RD @ sampled_SD.T).argmax(axis=1))
    return np.asarray(label_S[np.concatenate(list(nearest))], np.intp)


def agglomerative(rows: NormalizedFeatures, k: int) -> NDArray[np.intp]:
    """Merge the two nearest groups until k are left, by Ward's criterion.

    Args:
        rows: At most 10,000.
        k: Clusters, at most N.

    Returns:
        Labels, shape (N,).

    Raises:
        UsageError: There are too many rows.
    """
    if len(rows) > AGGLOMERATIVE_ROWS:
        raise UsageError(
            f"--method agglomerative compares all pairs and takes at most {AGGLOMERATIVE_ROWS:,} images, "
            f"not {len(rows):,}; use --method kmeans"
        )
    if len(rows) == 1:
        return np.zeros(1, np.intp)
    return np.asarray(AgglomerativeClustering(k, linkage="ward").fit_predict(rows.take(slice(None))), np.intp)
