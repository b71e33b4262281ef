"""The scores that need no labels.

Shapes: N images, Q views of each, D width.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import DataError
from dinocli.quality.duplicates import SAME, near_duplicates
from dinocli.quality.multiview_scores import alignment, lidar
from dinocli.quality.score_table import Score
from dinocli.quality.scores import alpha_req, augmentation_retrieval, feature_std, rankme, uniformity

HEADLINE = "retrieval_mrr"
"""The label-free score whose difference is put into words: the verdict of a training looks at the same."""


def free_scores(features_ND: NDArray[np.floating]) -> list[Score]:
    """Measure the features alone. None of these says better or worse by itself, so none claims to.

    Args:
        features_ND: Finite features, N >= 2.
    """
    name = f"share of images with a near duplicate (cosine {SAME:g})"
    return [
        Score("feature_std", "spread of the features (1 is isotropic)", feature_std(features_ND)),
        Score("rankme", "RankMe, effective dimensions (centred)", rankme(features_ND)),
        Score("alpha_req", "alpha-ReQ, decay of the spectrum (about 1 is healthy)", alpha_req(features_ND)),
        Score("uniformity", "uniformity (lower is more even)", uniformity(features_ND)),
        Score("near_duplicates", name, _duplicates(features_ND)),
    ]


def view_scores(clean_ND: NDArray[np.floating], views_QND: NDArray[np.floating]) -> list[Score]:
    """Measure the features of augmented views of images, beside those of the images."""
    found = augmentation_retrieval(clean_ND, views_QND[0])
    rank, hit = found.reciprocal_rank_N, found.hit_N.astype(np.float64)
    several = lidar(views_QND) if len(views_QND) > 1 else float("nan")
    name = "augmented view finds its image"
    return [
        Score("retrieval_mrr", f"{name}, mean reciprocal rank", float(rank.mean()), "higher", rank),
        Score("retrieval_top1", f"{name}, top-1", float(hit.mean()), "higher", hit),
        Score("alignment", "alignment (lower is closer)", alignment(clean_ND, views_QND[0])),
        Score("lidar", "LiDAR, dimensions that tell images apart", several),
    ]


def _duplicates(features_ND: NDArray[np.floating]) -> float:
    try:
        pairs_P2, _ = near_duplicates(features_ND, SAME)
    except DataError:  # so many pairs that nobody wants to know exactly
        return float("nan")
    return len(np.unique(pairs_P2)) / len(features_ND)
