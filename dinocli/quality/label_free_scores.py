"""Label-free scores of features, as rows of the table of `evaluate`.

Shapes: N images, Q views of each, D width.
"""

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import DataError
from dinocli.quality.crop_quadrant_retrieval import RETRIEVAL_LABEL, RETRIEVAL_SCORE
from dinocli.quality.defect_few_shot import DEFECT_LABEL, DEFECT_SCORE, RARE_DEFECT_LABEL, RARE_DEFECT_SCORE
from dinocli.quality.duplicates import SAME_COSINE, near_duplicates
from dinocli.quality.multiview_scores import alignment, lidar
from dinocli.quality.probe_result import SCORE_NAMES, ProbeResult
from dinocli.quality.score_table import Score
from dinocli.quality.scores import alpha_req, feature_std, rankme, uniformity


def feature_scores(features_ND: NDArray[np.floating], pooled_ND: NDArray[np.floating]) -> list[Score]:
    """Return the scores of a single set of features. None of them has a direction that means better.

    Args:
        features_ND: Finite features, N >= 2.
        pooled_ND: Pooled features of the same images, used to count near-duplicates.
    """
    name = f"share of images with a near duplicate (cosine {SAME_COSINE:g})"
    return [
        Score("feature_std", "spread of the features (1 is isotropic)", feature_std(features_ND)),
        Score("rankme", "RankMe, effective dimensions (centred)", rankme(features_ND)),
        Score("alpha_req", "alpha-ReQ, decay of the spectrum (about 1 is healthy)", alpha_req(features_ND)),
        Score("uniformity", "uniformity (lower is more even)", uniformity(features_ND)),
        Score("near_duplicates", name, _duplicates(pooled_ND)),
    ]


def probe_scores(result: ProbeResult) -> list[Score]:
    """Return the scores from crops, quadrants and synthetic defects.

    Only crop/quadrant retrieval has a direction that means better, as in the verdict of a training; synthetic-defect
    few-shot is a veto (`dinocli.quality.verdict.judge`). Retrieval of *augmented* views is not listed: a network
    trained to ignore contrast improves on it even where contrast is informative.
    """
    crops = [Score(key, SCORE_NAMES[key], getattr(result.scores, key)) for key in ("retrieval_top1", "retrieval_mrr")]
    defects = Score(DEFECT_SCORE, DEFECT_LABEL, result.defect_score, "", result.defects_N)
    scores = [Score(RETRIEVAL_SCORE, RETRIEVAL_LABEL, result.selection_score, "higher", result.values_N), defects]
    if len(result.rare_defects_N):
        rare = result.rare_defects_N
        scores.append(Score(RARE_DEFECT_SCORE, RARE_DEFECT_LABEL, result.rare_defect_score, "", rare))
    return [*scores, *crops]


def view_scores(clean_ND: NDArray[np.floating], views_QND: NDArray[np.floating]) -> list[Score]:
    """Return the scores from augmented views of the images."""
    value = lidar(views_QND) if len(views_QND) > 1 else float("nan")
    return [
        Score("alignment", "alignment of augmented views (lower is closer)", alignment(clean_ND, views_QND[0])),
        Score("lidar", "LiDAR, dimensions that tell images apart", value),
    ]


def _duplicates(features_ND: NDArray[np.floating]) -> float:
    try:
        pairs_P2, _ = near_duplicates(features_ND, SAME_COSINE)
    except DataError:  # too many pairs to count
        return float("nan")
    return len(np.unique(pairs_P2)) / len(features_ND)
