"""Label-free scores of one network on the probe images, on which the verdict is based.

Shapes: N probe images, D width, 4 quadrants.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.crop_quadrant_retrieval import crop_quadrant_retrieval
from dinocli.quality.scores import alpha_req, augmentation_retrieval, feature_std, linear_cka, rankme


@dataclass(frozen=True)
class Scores:
    """Label-free scores of one network on the probe images; see `dinocli.quality.scores`.

    Args:
        feature_std: Spread of the features, 0 to 1.
        rankme: Effective rank.
        alpha_req: Decay of the spectrum; NaN with very few images.
        retrieval_top1: Share of crops whose nearest image is their own.
        retrieval_mrr: Mean reciprocal rank of a crop's own image.
        cka_to_start: Linear CKA with the start, 1 for the start itself.
        finite: All features are finite. If not, every other score is NaN.
    """

    feature_std: float
    rankme: float
    alpha_req: float
    retrieval_top1: float
    retrieval_mrr: float
    cka_to_start: float
    finite: bool


SCORE_NAMES = {
    "retrieval_top1": "crop finds its image, top-1",
    "retrieval_mrr": "crop finds its image, MRR",
    "feature_std": "feature std (1 is isotropic)",
    "rankme": "RankMe, effective dimensions",
    "alpha_req": "alpha-ReQ (about 1 is healthy)",
    "cka_to_start": "linear CKA with the start",
}
"""Names of the scores in tables and curves."""


def measure(
    features_ND: NDArray[np.floating],
    crop_ND: NDArray[np.floating],
    quadrants_4ND: NDArray[np.floating],
    start_ND: NDArray[np.floating],
) -> tuple[Scores, NDArray[np.float64]]:
    """Compute all scores of one network on the probe images. Non-finite features give NaN scores, not an error.

    Args:
        features_ND: Features of the clean images.
        crop_ND: Features of one crop of each image, same order; the same crops for every network of a run.
        quadrants_4ND: Features of the four quadrants of each image, same order.
        start_ND: Features of the clean images by the start weights.

    Returns:
        The scores, and crop/quadrant retrieval of each image, shape (N,), for the paired comparison of
        `dinocli.quality.verdict.judge`.
    """
    if not all(np.isfinite(given).all() for given in (features_ND, crop_ND, quadrants_4ND)):
        nan = float("nan")
        return Scores(nan, nan, nan, nan, nan, nan, finite=False), np.full(len(features_ND), nan)
    retrieval = augmentation_retrieval(features_ND, crop_ND)
    scores = Scores(
        feature_std=feature_std(features_ND),
        rankme=rankme(features_ND),
        alpha_req=alpha_req(features_ND),
        retrieval_top1=float(retrieval.hit_N.mean()),
        retrieval_mrr=float(retrieval.reciprocal_rank_N.mean()),
        cka_to_start=linear_cka(features_ND, start_ND),
        finite=True,
    )
    return scores, crop_quadrant_retrieval(features_ND, crop_ND, quadrants_4ND)
