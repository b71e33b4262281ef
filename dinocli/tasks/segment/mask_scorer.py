"""Scores of a whole segmentation against its ground truth, filled image by image.

Legend: H W pixels of the source, A attention heads.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.masks import Overlap, ScoreInterval, head_overlap, mean_estimate, overall, overlap
from dinocli.quality.pixel_curves import PixelCurves


class MaskScorer:
    """Scores of a segmentation, filled image by image; what it keeps of an image are a few numbers.

    Where every pixel has a segment, none of them is "the" thing. Overlaps are then those of the one segment of the
    folder that fits the truth best, which the truth itself has chosen: an upper bound.
    """

    def __init__(self) -> None:
        self._everywhere = False
        self._overlaps: dict[int, list[Overlap]] = {}
        self._absent: list[Overlap] = []  # what the images so far give for a segment that is in none of them
        self._curves = PixelCurves()
        self._best: list[float] = []
        self._mean: list[float] = []

    def add(
        self,
        truth_HW: NDArray[np.int64],
        labels_HW: NDArray[np.uint16],
        soft_HW: NDArray[np.float32],
        *,
        dense: bool,
        heads_AHW: NDArray[np.bool_] | None = None,
    ) -> Mapping[str, float]:
        """Score one image.

        Args:
            truth_HW: 0 is nothing, every other value an object.
            labels_HW: What was found.
            soft_HW: What should be high inside the truth.
            dense: Every pixel has a segment.
            heads_AHW: Masks of attention heads.

        Returns:
            What is worth a column in the table.
        """
        there_HW = truth_HW > 0
        self._curves.add(there_HW, soft_HW)
        if heads_AHW is not None:
            heads = head_overlap(truth_HW, heads_AHW)
            self._best.append(heads.best)
            self._mean.append(heads.mean)
        if not dense:
            found = overlap(there_HW, labels_HW > 0)
            self._overlaps.setdefault(0, []).append(found)
            return {"truth_iou": found.iou, "truth_dice": found.dice}
        self._everywhere = True
        for label in set(np.unique(labels_HW).tolist()) | set(self._overlaps):
            mine = self._overlaps.setdefault(label, list(self._absent))
            mine.append(overlap(there_HW, labels_HW == label))
        self._absent.append(overlap(there_HW, np.zeros_like(there_HW)))
        return {}

    def scores(self) -> dict[str, ScoreInterval]:
        """Return all scores with their intervals; those that are not defined are left out."""
        if not self._overlaps:
            return {}
        best = max(self._overlaps.values(), key=lambda overlaps: overall(overlaps, draws=1).value)
        start = "best segment " if self._everywhere else ""
        pixels = self._curves.scores()
        scores = {
            f"{start}IoU": mean_estimate([one.iou for one in best]),
            f"{start}Dice": mean_estimate([one.dice for one in best]),
            f"{start}overall IoU": overall(best),
            f"{start}overall Dice": overall(best, dice=True),
            "pixel AUROC": pixels.auroc,
            "AUPRO": pixels.aupro,
            "head Jaccard, best (chosen by the truth)": mean_estimate(self._best),
            "head Jaccard, mean": mean_estimate(self._mean),
        }
        return {name: estimate for name, estimate in scores.items() if estimate.value == estimate.value}
