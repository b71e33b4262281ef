"""A folder of true masks, and the scores of a whole segmentation against it, image by image.

Legend: H W pixels of the source, A attention heads.
"""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dinocli.data.decode import read_native
from dinocli.data.sources import find_images
from dinocli.engine.progress import ProgressReporter
from dinocli.errors import DataError
from dinocli.quality.masks import Overlap, ScoreInterval, head_overlap, mean_estimate, overall, overlap
from dinocli.quality.pixel_curves import PixelCurves

ENDINGS = ("_mask", "_gt", "_label", "_labels")
"""What may follow the image's name in the name of its truth."""


class GroundTruth:
    """True masks, found by the names of images.

    Args:
        folder: Same folders and names as the images, any suffix; `NAME_mask` and the like are found too. 0 is nothing,
            every other value an object.

    Raises:
        DataError: There is no image in it.
    """

    def __init__(self, folder: str) -> None:
        masks = find_images([folder])
        root = Path(os.path.abspath(folder)) if os.path.isdir(folder) else masks.root
        paths = [Path(masks.path(row)) for row in range(len(masks))]
        self._paths = {str(path.relative_to(root).with_suffix("")): path for path in paths}

    def __contains__(self, name: str) -> bool:
        return self._path(name) is not None

    def read(self, name: str, shape: tuple[int, int]) -> NDArray[np.int64]:
        """Read the truth of an image.

        Args:
            name: Of the image, `./a/b.png`.
            shape: (H, W) of the image.

        Returns:
            (H, W), upright.

        Raises:
            DataError: It cannot be read, or is of another size: which pixels are meant is then anybody's guess.
        """
        path = self._path(name)
        assert path is not None
        try:
            pixels = read_native(path)
        except DataError as error:
            raise DataError(f"the truth {path} cannot be read: {error}") from error
        if pixels.shape[:2] != shape:
            size = "{1}x{0}".format(*pixels.shape[:2])
            raise DataError(f"the truth {path} has {size} px, its image {shape[1]}x{shape[0]}; both need the same size")
        # A coloured truth: every colour is an object.
        values: NDArray[np.int64] = np.ravel_multi_index(
            tuple(np.moveaxis(pixels.astype(np.int64), -1, 0)), (1 << 16,) * pixels.shape[-1]
        )
        return values

    def _path(self, name: str) -> Path | None:
        stem = str(PurePosixPath(name).with_suffix(""))
        return next((self._paths[stem + end] for end in ("", *ENDINGS) if stem + end in self._paths), None)


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


def warn_of_missing(reporter: ProgressReporter, missing: int, images: int, folder: str) -> None:
    """Say that the scores are of a part of the images alone."""
    if missing == images:
        raise DataError(f"no image has a truth in {folder}: it needs the same names as the images, of any suffix")
    if missing:
        reporter.warn(f"{missing} of {images} images have no truth in {folder}; the scores leave them out")
