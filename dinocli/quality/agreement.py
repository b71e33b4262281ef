"""Agreement of clusters with labels: NMI, adjusted Rand index, Hungarian accuracy.

Shapes: N images, C classes, G clusters.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def nmi(truth_N: NDArray[Any], clusters_N: NDArray[Any]) -> float:
    """Return the normalised mutual information of classes and clusters.

    It grows with the number of clusters, even of random ones: compare partitions with equal numbers of clusters, or
    read the adjusted Rand index too.

    Args:
        truth_N: One class per image, of any sortable type.
        clusters_N: One cluster per image.

    Returns:
        0 (independent) to 1 (the same partition, names ignored).

    Source: Vinh, Epps and Bailey 2010, Journal of Machine Learning Research 11; divided by the mean of both entropies.
    """
    from sklearn.metrics import normalized_mutual_info_score  # loads for two seconds: not before a run begins

    return float(normalized_mutual_info_score(truth_N, clusters_N))


def ari(truth_N: NDArray[Any], clusters_N: NDArray[Any]) -> float:
    """Return the adjusted Rand index: the chance-corrected share of image pairs on which both partitions agree.

    Random clusters score 0 for any number of clusters. Large classes dominate: pairs grow with the square of the size.

    Args:
        truth_N: One class per image, of any sortable type.
        clusters_N: One cluster per image.

    Returns:
        1 for the same partition, about 0 for chance, below 0 for less agreement than chance.

    Source: Hubert and Arabie 1985, Journal of Classification 2.
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(truth_N, clusters_N))


def hungarian_accuracy(truth_N: NDArray[Any], clusters_N: NDArray[Any]) -> float:
    """Return the accuracy under the best one-to-one assignment of clusters to classes.

    With more clusters than classes, all images in the unassigned clusters count as errors.

    Args:
        truth_N: One class per image, of any sortable type.
        clusters_N: One cluster per image.

    Returns:
        Share of images whose cluster is assigned to their class, 0 to 1.

    Source: Kuhn 1955 (Hungarian method); Yang et al. 2010 (as a clustering score).
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    counts_CG = contingency_matrix(truth_N, clusters_N)
    return float(counts_CG[linear_sum_assignment(counts_CG, maximize=True)].sum() / len(np.asarray(truth_N)))
