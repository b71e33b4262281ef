"""What one network makes of the probe images: features, and the scores that come from them.

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
    """The scores of one network on the probe images.

    Args:
        step: Steps done.
        scores: The label-free scores.
        values_N: Crop/quadrant retrieval of each probe image, to compare two networks image by image.
        defects_N: What each image gives to synthetic-defect few-shot (`dinocli.quality.defect_few_shot`); may be empty.
    """

    step: int
    scores: Scores
    values_N: NDArray[np.float64]
    defects_N: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def selection_score(self) -> float:
        """Mean crop/quadrant retrieval; higher is better, not a number where the features are not finite."""
        return float(self.values_N.mean())

    @property
    def defect_score(self) -> float:
        """Mean synthetic-defect few-shot accuracy; not a number where it was not measured."""
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
    """What one network makes of the probe images.

    Args:
        rows: The images, by their place in the store: while streaming, one may turn out to be broken, and is left out.
        clean_ND: Of the whole images.
        crop_ND: Of a crop of each.
        quadrants_4ND: Of the four quadrants of each.
        defect_KND: Of the whole images with a synthetic defect each, once or several times.
        kind_KN: Of the defects.
    """

    rows: list[int]
    clean_ND: Features
    crop_ND: Features
    quadrants_4ND: Features
    defect_KND: Features
    kind_KN: NDArray[np.int64]

    def changed(self, change: Callable[[Features], Features]) -> "ProbeFeatures":
        """Apply what features are read through, such as a whitening."""
        quadrants_4ND, defect_KND = (
            np.stack([change(part_ND) for part_ND in parts]) for parts in (self.quadrants_4ND, self.defect_KND)
        )
        clean_ND, crop_ND = map(change, (self.clean_ND, self.crop_ND))
        return ProbeFeatures(self.rows, clean_ND, crop_ND, quadrants_4ND, defect_KND, self.kind_KN)

    def measured(self, step: int, start_ND: Features) -> ProbeResult:
        """Compute the scores.

        Args:
            step: Steps done.
            start_ND: Features of the whole images by the network that others are compared with.
        """
        scores, values_N = measure(self.clean_ND, self.crop_ND, self.quadrants_4ND, start_ND)
        defects_N = np.full(len(self.rows), np.nan)
        if scores.finite and np.isfinite(self.defect_KND).all():
            passes = zip(self.defect_KND, self.kind_KN, strict=True)
            defects_N = np.mean([defect_few_shot(self.clean_ND, *one) for one in passes], axis=0)
        return ProbeResult(step, scores, values_N, defects_N)
