"""Features and scores of one network on the probe images.

Shapes: N images, 4 quadrants, D width, K passes with a synthetic defect.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.defect_few_shot import defect_few_shot, mean_accuracy
from dinocli.quality.probe_scores import Scores, measure

Features = NDArray[np.float32]


@dataclass(frozen=True)
class ProbeResult:
    """Scores of one network on the probe images.

    Args:
        step: Steps done.
        scores: Label-free scores.
        values_N: Selection score of each probe image, for paired comparisons.
        defects_N: Synthetic-defect few-shot of each image (`dinocli.quality.defect_few_shot`); may be empty.
    """

    step: int
    scores: Scores
    values_N: NDArray[np.float64]
    defects_N: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def selection_score(self) -> float:
        """Mean selection score; higher is better, NaN for non-finite features."""
        return float(self.values_N.mean())

    @property
    def defect_score(self) -> float:
        """Mean synthetic-defect few-shot accuracy; NaN if it was not measured."""
        return mean_accuracy(self.defects_N)

    def to_dict(self) -> dict[str, object]:
        """Return JSON-like data for a checkpoint."""
        values = {"values": self.values_N.tolist(), "defects": self.defects_N.tolist()}
        return {"step": self.step, "scores": vars(self.scores).copy(), **values}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ProbeResult":
        """Build a result from `to_dict` data."""
        values_N, defects_N = (np.array(data.get(key, ()), np.float64) for key in ("values", "defects"))
        return cls(int(data["step"]), Scores(**data["scores"]), values_N, defects_N)


@dataclass(frozen=True)
class ProbeFeatures:
    """Features of one network on the probe images.

    Args:
        rows: Indices of the images in the store; while streaming, unreadable files are left out.
        clean_ND: Features of the whole images.
        crop_ND: Features of a crop of each image.
        quadrants_4ND: Features of the four quadrants of each image.
        defect_KND: Features of the whole images with a synthetic defect, in K passes.
        kind_KN: Kind of each defect.
    """

    rows: list[int]
    clean_ND: Features
    crop_ND: Features
    quadrants_4ND: Features
    defect_KND: Features
    kind_KN: NDArray[np.int64]

    def transformed(self, transform: Callable[[Features], Features]) -> "ProbeFeatures":
        """Return the features after a transformation, such as a whitening."""
        quadrants_4ND, defect_KND = (
            np.stack([transform(part_ND) for part_ND in parts]) for parts in (self.quadrants_4ND, self.defect_KND)
        )
        clean_ND, crop_ND = map(transform, (self.clean_ND, self.crop_ND))
        return ProbeFeatures(self.rows, clean_ND, crop_ND, quadrants_4ND, defect_KND, self.kind_KN)

    def measured(self, step: int, start_ND: Features) -> ProbeResult:
        """Compute the scores of the features.

        Args:
            step: Steps done.
            start_ND: Features of the whole images by the start weights.
        """
        scores, values_N = measure(self.clean_ND, self.crop_ND, self.quadrants_4ND, start_ND)
        defects_N = np.full(len(self.rows), np.nan)
        if scores.finite and np.isfinite(self.defect_KND).all():
            passes = zip(self.defect_KND, self.kind_KN, strict=True)
            defects_N = np.mean(
                [defect_few_shot(self.clean_ND, defect_ND, kind_N) for defect_ND, kind_N in passes], axis=0
            )
        return ProbeResult(step, scores, values_N, defects_N)
