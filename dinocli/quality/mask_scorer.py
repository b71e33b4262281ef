"""Scores of a segmentation against its ground truth, accumulated image by image.

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
    """Accumulator of the scores of a segmentation; it stores a few numbers per image.

    In a dense segmentation every pixel has a segment and none is the foreground. Overlaps are then those of the one
    segment label of the folder that fits the ground truth best, an upper bound.
    """

    def __init__(self) -> None:
        self._dense = False
        self._overlaps: dict[int, list[Overlap]] = {}
        self._absent: list[Overlap] = []  # overlaps of the images so far with a segment label that none of them has
        self._curves = PixelCurves()
        self._best: list[float] = []
        self._mean: list[float] = []
        self._images: list[tuple[float, bool, bool]] = []  # score, defective, flagged

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
            truth_HW: Ground truth: 0 is background, every other value an object.
            labels_HW: Predicted label map.
            soft_HW: Predicted score map, high inside the ground truth.
            dense: Every pixel has a segment.
            heads_AHW: Masks of attention heads.

        Returns:
            Columns of the table for this image.
        """
        foreground_HW = truth_HW > 0
        self._curves.add(foreground_HW, soft_HW)
        if heads_AHW is not None:
            heads = head_overlap(truth_HW, heads_AHW)
            self._best.append(heads.best)
            self._mean.append(heads.mean)
        if not dense:
            binary = overlap(foreground_HW, labels_HW > 0)
            self._overlaps.setdefault(0, []).append(binary)
            return {"truth_iou": binary.iou, "truth_dice": binary.dice}
        self._dense = True
        for label in set(np.unique(labels_HW).tolist()) | set(self._overlaps):
            of_label = self._overlaps.setdefault(label, list(self._absent))
            of_label.append(overlap(foreground_HW, labels_HW == label))
        self._absent.append(overlap(foreground_HW, np.zeros_like(foreground_HW)))
        return {}

    def add_image(self, score: float, *, defective: bool, flagged: bool) -> None:
        """Add the image-level ground truth and prediction of one image.

        Args:
            score: Anomaly score; higher is more defective.
            defective: Ground truth.
            flagged: The predicted mask is not empty.
        """
        self._images.append((score, defective, flagged))

    def confusion(self) -> dict[str, int]:
        """Return the image-level confusion counts; empty without image-level ground truth."""
        if not self._images:
            return {}
        _, defective_N, flagged_N = zip(*self._images, strict=True)
        return confusion(defective_N, flagged_N)._asdict()

    def scores(self) -> dict[str, ScoreInterval]:
        """Return all scores with their intervals; undefined ones are left out.

        Mean IoU and Dice are those of images with an object: an empty mask of a good image has 1, so that a method that
        marks nothing would get the share of good images.
        """
        if not self._overlaps:
            return self._image_scores()
        best = max(self._overlaps.values(), key=lambda overlaps: overall(overlaps, draws=1).value)
        prefix = "best segment " if self._dense else ""
        pixels = self._curves.scores()
        scores = {
            f"{prefix}IoU": mean_estimate([image.iou for image in best if image.truth]),
            f"{prefix}Dice": mean_estimate([image.dice for image in best if image.truth]),
            f"{prefix}overall IoU": overall(best),
            f"{prefix}overall Dice": overall(best, dice=True),
            "pixel AUROC": pixels.auroc,
            "AUPRO": pixels.aupro,
            "head Jaccard, best (chosen by the truth)": mean_estimate(self._best),
            "head Jaccard, mean": mean_estimate(self._mean),
            **self._image_scores(),
        }
        return {name: estimate for name, estimate in scores.items() if estimate.value == estimate.value}

    def _image_scores(self) -> dict[str, ScoreInterval]:
        if len({defective for _, defective, _ in self._images}) < 2:
            return {}  # image scores need good and defective images
        return image_scores(*zip(*self._images, strict=True))
