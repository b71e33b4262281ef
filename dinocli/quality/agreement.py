"""Agreement of clusters with labels: NMI, adjusted Rand index, Hungarian accuracy.

Shapes: N images, C classes, G clusters.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix


def nmi(truth_N: NDArray[Any], clusters_N: NDArray[Any]) -> float:
    """Return the mutual information of classes and clusters, relative to the mean of their entropies.

    Rises with the number of clusters even where they are random: compare only partitions with as many clusters, or read
    the adjusted Rand index beside it.

    Args:
        truth_N: One class per image, of any sortable type.
        clusters_N: One cluster per image.

    Returns:
        0 (nothing in common) to 1 (the same partition, whatever the names).

    Source: Vinh, Epps and Bailey 2010, Journal of Machine Learning Research 11, with the arithmetic mean.
    """
    return float(normalized_mutual_info_score(truth_N, clusters_N))


def ari(truth_N: NDArray[Any], clusters_N: NDArray[Any]) -> float:
    """Return the adjusted Rand index: the share of pairs of images on which both agree, beyond chance.

    Random clusters get 0 however many there are. Large classes count most: pairs grow with the square.

    Args:
        truth_N: One class per image, of any sortable type.
        clusters_N: One cluster per image.

    Returns:
        About 0 for chance to 1 for the same partition; below 0 for less than chance.

    Source: Hubert and Arabie 1985, Journal of Classification 2.
    """
    return float(adjusted_rand_score(truth_N, clusters_N))


def hungarian_accuracy(truth_N: NDArray[Any], clusters_N: NDArray[Any]) -> float:
    """Return the accuracy after every cluster was given the class that makes the total best, each class once.

    What a user gets who looks at each cluster and writes a name on it, no name twice: with more clusters than classes,
    those that are left over count as wrong.

    Args:
        truth_N: One class per image, of any sortable type.
        clusters_N: One cluster per image.

    Returns:
        Share of images in a cluster of their class, 0 to 1.

    Source: Kuhn 1955, the Hungarian method; Yang et al. 2010 for its use as a score of clusters.
    """
    counts_CG = contingency_matrix(truth_N, clusters_N)
    return float(counts_CG[linear_sum_assignment(counts_CG, maximize=True)].sum() / len(np.asarray(truth_N)))
