"""Labels of a first frame, carried on through a video by the likeness of patches.

Source: the DAVIS protocol of Caron et al. 2021 (DINO, arXiv:2104.14294), after Jabri et al. 2020 (arXiv:2006.14613). We
depart in one place: a patch of the first frame has the shares of the labels in it, not the label at one of its pixels.

Legend: h w rows and columns of the grid, D width, K labels (0 is the background), F frames that are remembered.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.data.mask_reader import Mask, check_size, read_mask
from dinocli.data.read import Reader
from dinocli.errors import DataError
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps

REMEMBERED = 7
"""Frames before the present one that it is compared with, besides the first."""

RADIUS = 12
"""Patches that anything moves between two frames at most."""

TEMPERATURE = 0.1
NEIGHBOURS = 5
"""Most alike patches of all remembered frames together that give a patch its label."""


class _Frame(NamedTuple):
    features_hwD: NDArray[np.float32]
    labels_hwK: NDArray[np.float32]


@dataclass
class Propagation:
    """A method whose images are frames, and have to come in their order.

    Args:
        first_HW: Labels of the first frame: 0 is nothing, every other value an object.
    """

    first_HW: NDArray[np.int64]
    feature_kind: FeatureKind = FeatureKind.PATCHES
    whole_image_only: bool = True
    parameters: Mapping[str, float | str] = field(default_factory=dict)

    def fit(self, sample: Sequence[FeatureGrid]) -> "Propagation":
        """Forget all frames; the sample is not needed."""
        self._values = [value for value in np.unique(self.first_HW).tolist() if value]
        self._first: _Frame | None = None
        self._before: deque[_Frame] = deque(maxlen=REMEMBERED)
        self.parameters = {"objects": float(len(self._values))}
        return self

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Label the next frame; the first one gets its own labels back, as shares of its patches."""
        norm_hw1 = np.linalg.norm(grid.values_hwD, axis=-1, keepdims=True)
        features_hwD = grid.values_hwD / np.maximum(norm_hw1, 1e-12)
        if self._first is None:
            labels_hwK = shares(self.first_HW, [0, *self._values], features_hwD.shape[:2])
            self._first = _Frame(features_hwD, labels_hwK)
        else:
            labels_hwK = carried(features_hwD, [self._first, *self._before])
            self._before.append(_Frame(features_hwD, labels_hwK))
        objects_Khw = labels_hwK[..., 1:].transpose(2, 0, 1)
        soft_Khw = objects_Khw / np.maximum(objects_Khw + labels_hwK[..., 0], 1e-12)  # above 0.5: more than nothing
        there = bool((soft_Khw > 0.5).any())
        return PatchMaps(
            soft_Khw.astype(np.float32),
            threshold=0.5,
            score=float(soft_Khw.max(initial=0)),
            empty_reason="" if there else "no object of the first frame is left",
        )


def carried(features_hwD: NDArray[np.float32], remembered: Sequence[_Frame]) -> NDArray[np.float32]:
    """Return the labels of a frame, (h, w, K): weighted means of those of its most alike patches nearby.

    Row by row, so that memory does not grow with the square of the patches.
    """
    rows, columns = features_hwD.shape[:2]
    near = np.abs(np.arange(columns)[:, None] - np.arange(columns)) <= RADIUS
    labels = np.empty((rows, columns, remembered[0].labels_hwK.shape[-1]), np.float32)
    for row in range(rows):
        around = slice(max(0, row - RADIUS), row + RADIUS + 1)
        sources = np.concatenate([frame.features_hwD[around] for frame in remembered])
        values = np.concatenate([frame.labels_hwK[around] for frame in remembered])
        cosine = np.einsum("wd,rxd->wrx", features_hwD[row], sources, optimize=True)
        cosine = np.where(near[:, None], cosine, -np.inf).reshape(columns, -1)
        kept = np.argpartition(cosine, -min(NEIGHBOURS, cosine.shape[1]), axis=1)[:, -NEIGHBOURS:]
        weights = np.exp(np.take_along_axis(cosine, kept, 1) / TEMPERATURE)
        weights /= weights.sum(axis=1, keepdims=True)
        labels[row] = np.einsum("wn,wnk->wk", weights, values.reshape(-1, values.shape[-1])[kept])
    return labels


def shares(labels_HW: NDArray[np.int64], values: Sequence[int], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Return how much of each patch has each label, (h, w, K)."""
    size = (grid[1], grid[0])
    planes = [Image.fromarray((labels_HW == value).astype(np.float32)) for value in values]
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BOX)) for plane in planes], axis=-1)


def first_labels(path: Path, frame: str, reader: Reader) -> Mask:
    """Read the labels of the first frame.

    Args:
        path: Of the labels.
        frame: Path of the frame.
        reader: Reads frames, in channels and page as the command was told; whole ones, whatever its region.

    Raises:
        DataError: The mask or the frame cannot be read, or the mask is empty or of another size.
    """
    try:
        mask = read_mask(path)
    except DataError as error:
        raise DataError(f"the labels of the first frame, {path}, cannot be read: {error}") from error
    try:
        size = replace(reader, preprocess=replace(reader.preprocess, roi="")).full(frame).shape[1:]
    except DataError as error:
        raise DataError(f"the first frame, {frame}, cannot be read: {error}") from error
    check_size(mask.labels_HW, path, size, f"its frame {frame}")
    if not mask.labels_HW.any():
        raise DataError(f"{path} is empty: it has to label what is to be followed")
    return mask
