"""Scores of a whole segmentation against its ground truth, filled image by image.

Legend: H W pixels of the source, A attention heads.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.bootstrap import ScoreInterval
from dinocli.quality.image_scores import confusion, image_scores
from dinocli.quality.masks import Overlap, head_overlap, mean_estimate, overall, overlap
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
        self._images: list[tuple[float, bool, bool]] = []

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

    def add_image(self, score: float, *, defective: bool, flagged: bool) -> None:
        """Note what is known of a whole image, and what was found.

        Args:
            score: Higher is more defective.
            defective: What is known.
            flagged: Its mask is not empty.
        """
        self._images.append((score, defective, flagged))

    def confusion(self) -> dict[str, int]:
        """Return the counts of images found and known to be defective; empty where nothing is known."""
        if not self._images:
            return {}
        _, defective_N, flagged_N = zip(*self._images, strict=True)
        return confusion(defective_N, flagged_N)._asdict()

    def scores(self) -> dict[str, ScoreInterval]:
        """Return all scores with their intervals; those that are not defined are left out."""
        if not self._overlaps:
            return self._image_scores()
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
            **self._image_scores(),
        }
        return {name: estimate for name, estimate in scores.items() if estimate.value == estimate.value}

    def _image_scores(self) -> dict[str, ScoreInterval]:
        if len({defective for _, defective, _ in self._images}) < 2:
            return {}  # without images of both kinds there is nothing to tell apart
        return image_scores(*zip(*self._images, strict=True))
