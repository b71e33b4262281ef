"""Label-free scores of one network on the probe images, on which the verdict is based.

Shapes: N probe images, D width, 4 quadrants.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.bootstrap import finite_mean
from dinocli.quality.crop_quadrant_retrieval import crop_quadrant_retrieval
from dinocli.quality.defect_few_shot import defect_few_shot
from dinocli.quality.scores import alpha_req, augmentation_retrieval, feature_std, linear_cka, rankme

Features = NDArray[np.float32]


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


_VALUES = ("values", "defects", "rare_defects")


@dataclass(frozen=True)
class ProbeResult:
    """Scores of one network on the probe images.

    Args:
        step: Steps done.
        scores: Label-free scores.
        values_N: Selection score of each probe image, for paired comparisons.
        defects_N: Synthetic-defect few-shot of each image (`dinocli.quality.defect_few_shot`); empty if not measured.
        rare_defects_N: The same with `pooled+rare`, the default feature of `embed`; empty if not measured.
    """

    step: int
    scores: Scores
    values_N: NDArray[np.float64]
    defects_N: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    rare_defects_N: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def selection_score(self) -> float:
        """Mean selection score; higher is better, NaN for non-finite features."""
        return float(self.values_N.mean())

    @property
    def defect_score(self) -> float:
        """Mean synthetic-defect few-shot accuracy; NaN if it was not measured."""
        return finite_mean(self.defects_N)

    @property
    def rare_defect_score(self) -> float:
        """The same with `pooled+rare`."""
        return finite_mean(self.rare_defects_N)

    def to_dict(self) -> dict[str, object]:
        """Return JSON-like data for a checkpoint."""
        values = {name: getattr(self, f"{name}_N").tolist() for name in _VALUES}
        return {"step": self.step, "scores": vars(self.scores).copy(), **values}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ProbeResult":
        """Build a result from `to_dict` data."""
        values = [np.array(data.get(name, ()), np.float64) for name in _VALUES]
        return cls(int(data["step"]), Scores(**data["scores"]), *values)


@dataclass(frozen=True)
class ProbeFeatures:
    """Features of one network on the probe images.

    Args:
        rows: Indices of the images in the store; while streaming, unreadable files are left out.
        clean_ND: Features of the whole images.
        crop_ND: Features of a crop of each image.
        quadrants_4ND: Features of the four quadrants of each image.
        defects: Features (N, D) of the whole images with a synthetic defect and the kinds (N,) of these defects, for
            each pass; empty if none was made.
    """

    rows: list[int]
    clean_ND: Features
    crop_ND: Features
    quadrants_4ND: Features
    defects: list[tuple[Features, NDArray[np.int64]]]

    def transformed(self, transform: Callable[[Features], Features]) -> "ProbeFeatures":
        """Return the features after a transformation, such as a whitening."""
        clean_ND, crop_ND = map(transform, (self.clean_ND, self.crop_ND))
        quadrants_4ND = np.stack([transform(part_ND) for part_ND in self.quadrants_4ND])
        defects = [(transform(defect_ND), kind_N) for defect_ND, kind_N in self.defects]
        return ProbeFeatures(self.rows, clean_ND, crop_ND, quadrants_4ND, defects)

    def split_rare(self, width: int) -> tuple["ProbeFeatures", NDArray[np.float64]]:
        """Return the pooled features, and the synthetic-defect few-shot of each image with the `pooled+rare` ones.

        Args:
            width: Width of the pooled features, which come first.
        """
        rare_defects_N = self.transformed(lambda rows: rows[:, width:]).defects_N()
        return self.transformed(lambda rows: rows[:, :width]), rare_defects_N

    def measured(self, step: int, start_ND: Features) -> ProbeResult:
        """Compute the scores of the features.

        Args:
            step: Steps done.
            start_ND: Features of the whole images by the start weights.
        """
        scores, values_N = measure(self.clean_ND, self.crop_ND, self.quadrants_4ND, start_ND)
        if not self.defects:
            return ProbeResult(step, scores, values_N)
        return ProbeResult(step, scores, values_N, self.defects_N())

    def defects_N(self) -> NDArray[np.float64]:
        """Compute synthetic-defect few-shot of each image, (N,), the mean over the passes; NaN if not finite."""
        if not all(np.isfinite(rows).all() for rows in (self.clean_ND, *(defect_ND for defect_ND, _ in self.defects))):
            return np.full(len(self.rows), np.nan)
        passes = [defect_few_shot(self.clean_ND, defect_ND, kind_N) for defect_ND, kind_N in self.defects]
        return np.asarray(np.mean(passes, axis=0))


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
