"""Label-free scores of a set of features. Each measures one property; none alone proves that features are good.

All are computed in float64 from finite features, and all depend on the number of images: compare values only on the
same images, as a run does with its fixed probe set.

Shapes: N images, D width, K = min(N, D) singular values, R rows of one block.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from dinocli.quality.cosine import similarity_blocks, unit_rows

_FLOAT32_EPS = float(np.finfo(np.float32).eps)

# Equal features differ by float32 rounding, about 1e-6 of their norm, which changes a cosine by 1e-12.
_TIE = 1e-9


class Retrieval(NamedTuple):
    """Results of `augmentation_retrieval`, one value per query.

    Args:
        hit_N: The query's image is the unique nearest neighbour.
        reciprocal_rank_N: 1 / rank of the query's image, in (0, 1].
    """

    hit_N: NDArray[np.bool_]
    reciprocal_rank_N: NDArray[np.float64]


def feature_std(features_ND: NDArray[np.floating]) -> float:
    """Return the spread of the L2-normalised features: standard deviation over images, mean over dimensions, x sqrt(D).

    Near 1 for isotropic features, 0 if all images have the same feature. A narrow domain starts well below 1, because
    its features share a large mean: compare it with the start.

    Args:
        features_ND: Finite features, N >= 1.

    Returns:
        0 to 1.

    Source: Chen and He 2021 (SimSiam), arXiv:2011.10566, section 4.1.
    """
    units_ND = unit_rows(features_ND)
    return float(units_ND.std(axis=0).mean() * np.sqrt(units_ND.shape[1]))


def uniformity(features_ND: NDArray[np.floating]) -> float:
    """Return the uniformity: log of the mean Gaussian potential over pairs of different images.

    Lower is more uniform. Near-duplicates and a narrow domain raise it; noise lowers it without better features.

    Args:
        features_ND: Finite features, N >= 2.

    Returns:
        log of the mean of exp(-2 squared distance) of L2-normalised rows; -8 to 0, and 0 if all are equal.

    Source: Wang and Isola 2020, arXiv:2005.10242, section 4, t = 2.
    """
    units_ND = unit_rows(features_ND)
    count = len(units_ND)
    # Between rows of length 1 the squared distance is 2 - 2 cosine.
    total = sum(float(np.exp(4 * cosine_RN - 4).sum()) for _, cosine_RN in similarity_blocks(units_ND, units_ND))
    itself = np.exp(4 * np.square(units_ND).sum(axis=1) - 4).sum()
    return float(np.log((total - itself) / (count * (count - 1))))


def rankme(features_ND: NDArray[np.floating]) -> float:
    """Return RankMe, the effective rank of the centred features.

    It falls early in a dimensional collapse, but isotropic noise raises it. Strongly biased for few images: 304 true
    dimensions give 84 from 100 images and 211 from 300.

    Args:
        features_ND: Finite features, N >= 1.

    Returns:
        exp of the entropy of the normalised singular values, 1 to min(N, D); 0 if all images have the same feature.

    Source: Garrido et al. 2023 (RankMe), arXiv:2210.02885. Departs: centred, since the common mean would dominate
    otherwise, and without the added 1e-7.
    """
    sigma_K = _singular_values(features_ND)
    if not sigma_K.any():
        return 0.0
    return float(np.exp(entr(sigma_K / sigma_K.sum()).sum()))


def alpha_req(features_ND: NDArray[np.floating]) -> float:
    """Return alpha of the power law rank^-alpha, fitted to the spectrum of the feature covariance.

    About 1 is healthy; above 1.5 a few directions dominate; far below 1 is close to noise. The first ten ranks and the
    second half of the spectrum deviate from the power law and are left out; with fewer than 80 images or dimensions,
    the first quarter of the remaining ranks instead of ten, and the value is imprecise.

    Args:
        features_ND: Finite features.

    Returns:
        Negative slope in log-log scale; NaN if fewer than three ranks are left.

    Source: Agrawal et al. 2022 (alpha-ReQ), arXiv:2202.05808. Departs: the fitted range.
    """
    sigma_K = _singular_values(features_ND)
    last = min(len(sigma_K) // 2, int((sigma_K > 0).sum()))
    first = min(11, last // 4 + 1)
    if last - first < 2:
        return float("nan")
    ranks = np.arange(first, last + 1)
    slope, _ = np.polyfit(np.log(ranks), np.log(np.square(sigma_K[first - 1 : last])), 1)
    return float(-slope)


def linear_cka(features_ND: NDArray[np.floating], other_NE: NDArray[np.floating]) -> float:
    """Return linear CKA, a similarity of two sets of features that is invariant to rotation and scale.

    Compared with the start it measures how much training changed the features, not whether they improved. With fewer
    images than dimensions it is biased towards 1.

    Args:
        features_ND: Finite features of one network.
        other_NE: Finite features of the other, the same images in the same order; the width may differ.

    Returns:
        0 to 1 (equal up to rotation and scale); 0 if either gives every image the same feature.

    Source: Kornblith et al. 2019, arXiv:1905.00414, the linear form.
    """
    a_ND, b_NE = _centred(features_ND), _centred(other_NE)
    scale = np.linalg.norm(a_ND.T @ a_ND) * np.linalg.norm(b_NE.T @ b_NE)
    if scale == 0:
        return 0.0
    return float(np.square(np.linalg.norm(a_ND.T @ b_NE)) / scale)


def augmentation_retrieval(clean_ND: NDArray[np.floating], augmented_ND: NDArray[np.floating]) -> Retrieval:
    """Retrieve each image by an augmented view of it, by exact cosine.

    It measures instance discrimination *and* invariance, which spread and rank do not. With ties, the reciprocal rank
    is its mean over all orders of the tied images, so that a collapsed network scores like chance (about ln N / N) and
    not 1; a hit must be the unique nearest. Exact copies in the folder always tie.

    Args:
        clean_ND: Finite features of the images.
        augmented_ND: Finite features of one augmented view of each, same order.

    Returns:
        Hits and reciprocal ranks, one per image.

    Raises:
        ValueError: The shapes differ.
    """
    if clean_ND.shape != augmented_ND.shape:
        raise ValueError(f"clean features have the shape {clean_ND.shape}, augmented ones {augmented_ND.shape}")
    count = len(clean_ND)
    hit_N = np.empty(count, dtype=np.bool_)
    reciprocal_rank_N = np.empty(count)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, count + 1))])
    for index_R, cosine_RN in similarity_blocks(unit_rows(augmented_ND), unit_rows(clean_ND)):
        lead_RN = cosine_RN - cosine_RN[np.arange(len(index_R)), index_R, None]
        above_R = (lead_RN > _TIE).sum(axis=1)
        tied_R = (np.abs(lead_RN) <= _TIE).sum(axis=1)  # the image itself is one of them
        hit_N[index_R] = (above_R == 0) & (tied_R == 1)
        reciprocal_rank_N[index_R] = (harmonic[above_R + tied_R] - harmonic[above_R]) / tied_R
    return Retrieval(hit_N, reciprocal_rank_N)


def _centred(features_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """Subtract the mean; constant features become exactly 0 instead of rounding errors."""
    rows_ND = features_ND.astype(np.float64)
    centred_ND = rows_ND - rows_ND.mean(axis=0)
    if np.linalg.norm(centred_ND) <= _FLOAT32_EPS * np.linalg.norm(rows_ND):
        return np.zeros_like(centred_ND)
    return np.asarray(centred_ND)


def _singular_values(features_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the singular values of the centred features, largest first; those below float32 rounding become 0.

    Otherwise a collapsed network would have a high rank, since rounding errors are isotropic.
    """
    rounding = _FLOAT32_EPS * np.linalg.norm(features_ND.astype(np.float64))
    sigma_K = np.linalg.svd(_centred(features_ND), compute_uv=False)
    return np.asarray(np.where(sigma_K > rounding, sigma_K, 0.0), dtype=np.float64)
