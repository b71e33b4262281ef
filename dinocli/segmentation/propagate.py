"""Video label propagation: labels of the first frame, propagated by cosine similarity of patches.

Source: the DAVIS protocol of Caron et al. 2021 (DINO, arXiv:2104.14294), after Jabri et al. 2020 (arXiv:2006.14613).
One departure: a patch of the first frame has the area fraction of each label in it, not the label of one pixel.

Legend: h w rows and columns of the grid, D width, K labels (0 is the background).
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.data.mask_reader import Mask, check_size, read_mask
from dinocli.data.read import Reader
from dinocli.errors import DataError
from dinocli.segmentation.method import FeatureGrid, FeatureKind, PatchMaps

CONTEXT_FRAMES = 7
"""Number of preceding frames that a frame is compared with, in addition to the first frame."""

RADIUS = 12
"""Search radius, patches: the maximum displacement between two frames."""

TEMPERATURE = 0.1
"""Temperature of the softmax over the cosines of the nearest neighbours."""

NEIGHBOURS = 5
"""Number of nearest neighbours of a patch, over all context frames together."""


class _Frame(NamedTuple):
    """Unit features and label fractions of one frame."""

    features_hwD: NDArray[np.float32]
    labels_hwK: NDArray[np.float32]


@dataclass(frozen=True)
class Propagation:
    """Method for the frames of a video.

    Args:
        first_HW: Labels of the first frame; 0 is the background, every other value an object.
    """

    feature_kind: ClassVar = FeatureKind.PATCHES
    whole_image_only: ClassVar = True

    first_HW: NDArray[np.int64]

    def fit(self, sample: Iterable[FeatureGrid]) -> "FittedPropagation":
        """Begin with the first frame; the sample is not used."""
        return FittedPropagation(self.first_HW)


class FittedPropagation:
    """Propagation from the first frame on: `apply` keeps context frames, so it has to get the frames in order.

    Args:
        first_HW: As of `Propagation`.
    """

    def __init__(self, first_HW: NDArray[np.int64]) -> None:
        self.first_HW = first_HW
        self._values = [value for value in np.unique(first_HW).tolist() if value]
        self._first: _Frame | None = None
        self._context: deque[_Frame] = deque(maxlen=CONTEXT_FRAMES)

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Number of objects."""
        return {"objects": float(len(self._values))}

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        """Label the next frame; the first frame gets the label fractions of its patches.

        Raises:
            DataError: The frame has another grid than the first one.
        """
        norm_hw1 = np.linalg.norm(grid.values_hwD, axis=-1, keepdims=True)
        features_hwD = grid.values_hwD / np.maximum(norm_hw1, 1e-12)
        if self._first is None:
            labels_hwK = label_fractions(self.first_HW, [0, *self._values], features_hwD.shape[:2])
            self._first = _Frame(features_hwD, labels_hwK)
        elif features_hwD.shape != self._first.features_hwD.shape:
            raise DataError("--propagate needs frames of one size, and one differs from the first: leave it out")
        else:
            labels_hwK = propagate_labels(features_hwD, [self._first, *self._context])
            self._context.append(_Frame(features_hwD, labels_hwK))
        objects_Khw = labels_hwK[..., 1:].transpose(2, 0, 1)
        soft_Khw = objects_Khw / np.maximum(objects_Khw + labels_hwK[..., 0], 1e-12)  # > 0.5: more than the background
        any_object = bool((soft_Khw > 0.5).any())
        return PatchMaps(
            soft_Khw.astype(np.float32),
            threshold=0.5,
            score=float(soft_Khw.max(initial=0)),
            empty_reason="" if any_object else "no object of the first frame is left",
        )


def propagate_labels(features_hwD: NDArray[np.float32], context: Sequence[_Frame]) -> NDArray[np.float32]:
    """Return the labels of a frame, (h, w, K): means over the nearest neighbours within `RADIUS`, softmax-weighted.

    Works row by row, so that memory does not grow with the square of the number of patches.
    """
    rows, columns = features_hwD.shape[:2]
    near = np.abs(np.arange(columns)[:, None] - np.arange(columns)) <= RADIUS
    labels = np.empty((rows, columns, context[0].labels_hwK.shape[-1]), np.float32)
    for row in range(rows):
        band = slice(max(0, row - RADIUS), row + RADIUS + 1)
        sources = np.concatenate([frame.features_hwD[band] for frame in context])
        values = np.concatenate([frame.labels_hwK[band] for frame in context])
        cosine = np.einsum("wd,rxd->wrx", features_hwD[row], sources, optimize=True)
        cosine = np.where(near[:, None], cosine, -np.inf).reshape(columns, -1)
        nearest = np.argpartition(cosine, -min(NEIGHBOURS, cosine.shape[1]), axis=1)[:, -NEIGHBOURS:]
        weights = np.exp(np.take_along_axis(cosine, nearest, 1) / TEMPERATURE)
        weights /= weights.sum(axis=1, keepdims=True)
        labels[row] = np.einsum("wn,wnk->wk", weights, values.reshape(-1, values.shape[-1])[nearest])
    return labels


def label_fractions(labels_HW: NDArray[np.int64], values: Sequence[int], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Return the area fraction of each label in each patch, (h, w, K)."""
    size = (grid[1], grid[0])
    planes = [Image.fromarray((labels_HW == value).astype(np.float32)) for value in values]
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BOX)) for plane in planes], axis=-1)


def first_labels(path: Path, frame: str, reader: Reader) -> Mask:
    """Read the labels of the first frame.

    Args:
        path: Mask with the labels.
        frame: Path of the first frame.
        reader: Reader of the frames, for channels and page; its region of interest is ignored, so frames are whole.

    Raises:
        DataError: The mask or the frame cannot be read, or the mask is empty or has another size.
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
        raise DataError(f"{path} is empty: it has to label the objects to track")
    values = np.unique(mask.labels_HW[mask.labels_HW > 0]).tolist()
    if values == [*range(1, len(values) + 1)]:
        return mask
    old, new = (", ".join(map(str, numbers)) for numbers in (values, range(1, len(values) + 1)))
    return Mask(mask.labels_HW, "; ".join(filter(None, [mask.note, f"the labels {old} of {path.name} become {new}"])))
