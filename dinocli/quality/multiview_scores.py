"""Label-free scores from several augmented views of each image.

As in `dinocli.quality.scores`, features are finite, and values for different numbers of images are not comparable.

Shapes: N images, D width, Q views of each image.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular, svdvals
from scipy.special import entr

from dinocli.quality.cosine import unit_rows

RIDGE = 1e-4
"""Of LiDAR: added to the diagonal of the within-image covariance, as a share of the mean between-image variance of a
dimension, so that a direction without variance between views cannot outweigh all others."""


def alignment(clean_ND: NDArray[np.floating], augmented_ND: NDArray[np.floating]) -> float:
    """Return the mean squared distance between an augmented view and its image, L2-normalised.

    Lower is better only if the features stay spread: a collapsed network reaches 0. Read it together with
    `dinocli.quality.scores.uniformity`.

    Args:
        clean_ND: Finite features of the images.
        augmented_ND: Finite features of one augmented view of each, same order.

    Returns:
        0 to 4.

    Raises:
        ValueError: The shapes differ.

    Source: Wang and Isola 2020, arXiv:2005.10242, section 4, alpha = 2.
    """
    if clean_ND.shape != augmented_ND.shape:
        raise ValueError(f"clean features have the shape {clean_ND.shape}, augmented ones {augmented_ND.shape}")
    return float(np.square(unit_rows(clean_ND) - unit_rows(augmented_ND)).sum(axis=1).mean())


def lidar(views_QND: NDArray[np.floating]) -> float:
    """Return LiDAR: the effective rank of the between-image scatter, whitened by the within-image scatter.

    Noise that raises RankMe does not raise LiDAR: each direction counts by the variance between images in units of the
    variance between views. It depends on the augmentation: a detail that the views destroy counts as noise. Biased low
    for few images, and at most N - 1.

    Args:
        views_QND: Finite features of several augmented views of each image, Q >= 2, N >= 2.

    Returns:
        exp of the entropy of the eigenvalues of W^-1/2 B W^-1/2, 1 to min(N - 1, D); 0 if all images have the same
        feature.

    Raises:
        ValueError: Fewer than two views or images.

    Source: Thilak et al. 2023 (LiDAR), arXiv:2312.04000. Departs: the ridge is relative (absolute 1e-4 in the paper),
    so that the scale of the features does not matter.
    """
    if views_QND.ndim != 3 or min(views_QND.shape[:2]) < 2:
        raise ValueError(f"at least two views of two images are needed, not {views_QND.shape}")
    rows_QND = views_QND.astype(np.float64)
    mean_ND = rows_QND.mean(axis=0)
    centred_ND = mean_ND - mean_ND.mean(axis=0)
    within_rows = (rows_QND - mean_ND).reshape(-1, rows_QND.shape[-1])
    width = rows_QND.shape[-1]
    floor = np.square(centred_ND).sum() / (len(mean_ND) - 1) / width
    if floor <= np.finfo(np.float32).eps ** 2 * np.square(rows_QND).mean():
        return 0.0
    within_DD = within_rows.T @ within_rows / len(within_rows) + RIDGE * floor * np.eye(width)
    # With W = L L' and B = M M', the squared singular values of L^-1 M are the eigenvalues of W^-1/2 B W^-1/2.
    white_DN = solve_triangular(cholesky(within_DD, lower=True), centred_ND.T / np.sqrt(len(mean_ND) - 1), lower=True)
    spectrum = np.square(svdvals(white_DN))
    return float(np.exp(entr(spectrum / spectrum.sum()).sum()))
