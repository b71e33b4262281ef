"""Label-free scores of a set of features. Each measures another property; none alone proves that features are good.

All are computed in float64 from finite features, and all depend on the number of images: compare only values of the
same images, which is what a run does with its fixed probe set.

Shapes: N images, D width, K = min(N, D) singular values, R rows of one block.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from dinocli.quality.cosine import similarity_blocks, unit_rows

_FLOAT32_EPS = float(np.finfo(np.float32).eps)

# A network that gives one point for every image still jitters by float32 rounding, about 1e-6 of its length. That moves
# a cosine by the square of it, 1e-12: such images are as good as equal.
_TIE = 1e-9


class Retrieval(NamedTuple):
    """What `augmentation_retrieval` found, one value per query.

    Args:
        hit_N: The query's own image is the nearest of all, alone.
        reciprocal_rank_N: 1 / rank of the query's own image, in (0, 1].
    """

    hit_N: NDArray[np.bool_]
    reciprocal_rank_N: NDArray[np.float64]


def feature_std(features_ND: NDArray[np.floating]) -> float:
    """Return how widely the features spread over the sphere.

    Near 1 when they use all directions alike, 0 when all images get the same feature. A narrow domain starts well below
    1, because its features share a large mean: read it against the start, never alone.

    Args:
        features_ND: Finite features, N >= 1.

    Returns:
        Standard deviation over images of the rows scaled to length 1, mean over dimensions, times sqrt(D); 0 to 1.

    Source: Chen and He 2021 (SimSiam), arXiv:2011.10566, section 4.1.
    """
    units_ND = unit_rows(features_ND)
    return float(units_ND.std(axis=0).mean() * np.sqrt(units_ND.shape[1]))


def uniformity(features_ND: NDArray[np.floating]) -> float:
    """Return how evenly the features fill the sphere: the log of the mean closeness of two different images.

    Lower is more even. Near copies in the folder and a narrow domain raise it, and noise lowers it; it sees no meaning.

    Args:
        features_ND: Finite features, N >= 2.

    Returns:
        log of the mean of exp(-2 squared distance) over all pairs of rows scaled to length 1; -8 to 0, and 0 for one
        point.

    Source: Wang and Isola 2020, arXiv:2005.10242, section 4, t = 2.
    """
    units_ND = unit_rows(features_ND)
    count = len(units_ND)
    # Between rows of length 1 the squared distance is 2 - 2 cosine.
    total = sum(float(np.exp(4 * cosine_RN - 4).sum()) for _, cosine_RN in similarity_blocks(units_ND, units_ND))
    itself = np.exp(4 * np.square(units_ND).sum(axis=1) - 4).sum()
    return float(np.log((total - itself) / (count * (count - 1))))


def rankme(features_ND: NDArray[np.floating]) -> float:
    """Return the effective number of dimensions that the features use.

    Falls when directions die, before any other score sees it, but noise in every direction also raises it. Strongly
    biased by few images: 304 true dimensions read as 84 from 100 images and 211 from 300.

    Args:
        features_ND: Finite features, N >= 1.

    Returns:
        exp of the entropy of the singular values, 1 to min(N, D); 0 when all images have the same feature.

    Source: Garrido et al. 2023 (RankMe), arXiv:2210.02885. Departs: centred, since the common mean would otherwise
    drown the rest, and without the added 1e-7.
    """
    sigma_K = _singular_values(features_ND)
    if not sigma_K.any():
        return 0.0
    return float(np.exp(entr(sigma_K / sigma_K.sum()).sum()))


def alpha_req(features_ND: NDArray[np.floating]) -> float:
    """Return how fast the spectrum of the features decays: their variances go like rank^-alpha.

    About 1 is healthy, above 1.5 a few directions hold everything, far below 1 is near noise. The first ten ranks and
    the second half of the spectrum bend the line and are left out; with fewer than 80 images or dimensions the first
    quarter of the fitted ranks gives way instead of ten, and the value is rough.

    Args:
        features_ND: Finite features.

    Returns:
        The negative slope in log-log; not a number where fewer than three ranks are left to fit.

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
    """Return how alike two networks see the same images, whatever the rotation and the scale of their features.

    Run against the start it tells how far the training went, not whether that was good. With fewer images than
    dimensions it leans towards 1.

    Args:
        features_ND: Finite features of one network.
        other_NE: Finite features of the other, the same images in the same order; the width may differ.

    Returns:
        0 (nothing in common) to 1 (same up to rotation and scale); 0 if either gives every image the same feature.

    Source: Kornblith et al. 2019, arXiv:1905.00414, the linear form.
    """
    a_ND, b_NE = _centred(features_ND), _centred(other_NE)
    scale = np.linalg.norm(a_ND.T @ a_ND) * np.linalg.norm(b_NE.T @ b_NE)
    if scale == 0:
        return 0.0
    return float(np.square(np.linalg.norm(a_ND.T @ b_NE)) / scale)


def augmentation_retrieval(clean_ND: NDArray[np.floating], augmented_ND: NDArray[np.floating]) -> Retrieval:
    """Look for each image by an augmented view of it, and say at which rank it was found.

    It sees what spread and rank cannot: whether images stay apart *and* survive a change that should not matter. Ties
    are shared fairly: the reciprocal rank is its mean over all orders of the tied images, so that one point for all
    images scores as guessing does (about ln N / N) and not 1, and a hit has to be alone at the top. Exact copies in the
    folder tie with each other for good.

    Args:
        clean_ND: Finite features of the images.
        augmented_ND: Finite features of one augmented view of each, same order.

    Returns:
        Hits and reciprocal ranks by exact cosine, one per image.

    Raises:
        ValueError: If the two do not have the same shape.
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
    """Subtract the mean; what is left of a constant is rounding, and becomes exactly 0."""
    rows_ND = features_ND.astype(np.float64)
    centred_ND = rows_ND - rows_ND.mean(axis=0)
    if np.linalg.norm(centred_ND) <= _FLOAT32_EPS * np.linalg.norm(rows_ND):
        return np.zeros_like(centred_ND)
    return np.asarray(centred_ND)


def _singular_values(features_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the singular values of the centred features, largest first, those of float32 rounding as 0.

    Without this cut a collapsed network would look full of rank: rounding points into all directions alike.
    """
    rounding = _FLOAT32_EPS * np.linalg.norm(features_ND.astype(np.float64))
    sigma_K = np.linalg.svd(_centred(features_ND), compute_uv=False)
    return np.asarray(np.where(sigma_K > rounding, sigma_K, 0.0), dtype=np.float64)
