"""A fixed probe set on which a run measures its networks: always the same images and the same crops.

The start (the weights before the first step) is measured first: it is step 0 of every curve. A run has two probes: the
guard selects the best step on one, and the verdict is measured on the other, because the best of ten measurements is
biased upwards on the images that selected it.

Shapes: N images, M quadrants of all of them, B images at once, S side of the square, s of a quadrant, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.multicrop import MultiCrop
from dinocli.augment.resample import normalise, resize_square
from dinocli.config.preprocess import Preprocess
from dinocli.data.loader import Loader
from dinocli.models.backbone import Backbone
from dinocli.models.features import extract
from dinocli.quality.crop_quadrant_retrieval import QUADRANTS
from dinocli.quality.verdict import Scores, measure

PROBE_BATCH = 64
LOOKS = 3
"""A measurement looks at each image whole, at a crop of it, and at its quadrants."""


@dataclass(frozen=True)
class ProbeResult:
    """The scores of one network on the probe images.

    Args:
        step: Steps done.
        scores: The label-free scores.
        values_N: Crop/quadrant retrieval of each probe image, to compare two networks image by image.
    """

    step: int
    scores: Scores
    values_N: NDArray[np.float64]

    @property
    def selection_score(self) -> float:
        """Mean crop/quadrant retrieval; higher is better, not a number where the features are not finite."""
        return float(self.values_N.mean())

    def to_dict(self) -> dict[str, object]:
        """Return JSON-like data for a checkpoint."""
        return {"step": self.step, "scores": vars(self.scores).copy(), "values": self.values_N.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ProbeResult":
        """Build a result from `to_dict` data."""
        return cls(int(data["step"]), Scores(**data["scores"]), np.array(data["values"]))


class Probe:
    """Measures any backbone on the probe images.

    Args:
        loader: Gives the images.
        indices: The probe images, by their place in the store.
        views: The run's global crop at the size of evaluation.
        draw: Seed of the crops.
        preprocess: Size and normalisation.
        advance: Is told how many more images were looked at; a measurement looks at each `LOOKS` times.
    """

    def __init__(
        self,
        loader: Loader,
        indices: Sequence[int],
        views: MultiCrop,
        draw: int,
        preprocess: Preprocess,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.loader, self.indices, self.views, self.draw = loader, indices, views, draw
        self.preprocess, self.advance = preprocess, advance
        self._start_ND: NDArray[np.float32] | None = None
        self.clean_ND, self.rows = np.empty((0, 0), np.float32), list[int]()

    @property
    def looks(self) -> int:
        """Images that a measurement looks at, counted as often as it does."""
        return LOOKS * len(self.indices)

    def measure(self, backbone: Backbone, step: int) -> ProbeResult:
        """Measure a backbone; the first one measured is the start that all others are compared with.

        The features of the whole images stay in `clean_ND` and `rows` until the next measurement.
        """
        self.clean_ND, self.rows = clean_ND, _ = self.features(backbone, self.indices)
        crop_ND = extract(backbone, self._crops(), autocast=None)
        quadrants_MD = extract(backbone, self._quadrants(backbone), autocast=None)
        quadrants_4ND = quadrants_MD.reshape(-1, QUADRANTS, quadrants_MD.shape[1]).swapaxes(0, 1)
        if self._start_ND is None:
            self._start_ND = clean_ND
        return ProbeResult(step, *measure(clean_ND, crop_ND, quadrants_4ND, self._start_ND))

    def features(self, backbone: Backbone, indices: Sequence[int]) -> tuple[NDArray[np.float32], list[int]]:
        """Return the features of whole images, squashed to the square of evaluation.

        Returns:
            (N, D), and the N indices themselves: while streaming, a file may turn out to be broken, and is left out.
        """
        return whole_features(self.loader, backbone, indices, self.preprocess, self.advance)

    def _quadrants(self, backbone: Backbone) -> Iterator[Tensor]:
        """Yield the quadrants of each whole image, one image after the other; enlarged for a model of one size."""
        side = quadrant_side(self.preprocess.size, backbone)
        first, last = slice(side), slice(-side, None)
        for image_B3SS in _whole(self.loader, self.indices, self.preprocess, []):
            self.advance(len(image_B3SS))
            corners = [image_B3SS[:, :, rows, columns] for rows in (first, last) for columns in (first, last)]
            quadrants_M3ss = torch.stack(corners, dim=1).flatten(0, 1)
            if backbone.one_size:
                quadrants_M3ss = F.interpolate(quadrants_M3ss, image_B3SS.shape[-2:], mode="bicubic")
            yield quadrants_M3ss

    def _crops(self) -> Iterator[Tensor]:
        for batch in self.loader.whole(self.indices, PROBE_BATCH):
            (views_B3SS,) = self.views(
                batch.pixels_BCHW,
                batch.sizes_B2,
                step=self.draw,
                start=batch.start,
                global_batch=len(self.indices),
            )
            self.advance(len(views_B3SS))
            yield views_B3SS


def forwards_per_image(backbone: Backbone) -> int:
    """Return the cost of a probe image in forward passes of whole images: the image, its crop, and its quadrants.

    Four quadrants have the pixels of one image, or of four where a model of one size needs them enlarged.
    """
    return 2 + (QUADRANTS if backbone.one_size else 1)


def quadrant_side(size: int, backbone: Backbone) -> int:
    """Return the side in pixels of a quadrant of an image of `size` pixels, a multiple of the patch size."""
    patch = backbone.patch or 1
    return max(1, size // 2 // patch) * patch


def whole_features(
    loader: Loader,
    backbone: Backbone,
    indices: Sequence[int],
    preprocess: Preprocess,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[NDArray[np.float32], list[int]]:
    """Return the features of whole images, as `Probe.features` does."""
    rows: list[int] = []

    def told() -> Iterator[Tensor]:
        for image_B3SS in _whole(loader, indices, preprocess, rows):
            advance(len(image_B3SS))
            yield image_B3SS

    # In float32, whatever the training computes in: bfloat16 alone moved a k-NN accuracy by half a point.
    return extract(backbone, told(), autocast=None), rows


def _whole(loader: Loader, indices: Sequence[int], preprocess: Preprocess, rows: list[int]) -> Iterator[Tensor]:
    for batch in loader.whole(indices, PROBE_BATCH):
        rows += batch.rows
        square_BCSS = resize_square(batch.pixels_BCHW, batch.sizes_B2, preprocess.size)
        yield normalise(square_BCSS, preprocess.mean, preprocess.std)


def probe_indices(images: int, wanted: int, seed: int) -> tuple[list[int], list[int]]:
    """Choose the images of the guard and those of the verdict: seeded samples in the folder's order.

    They share no image where the folder has enough; a small folder gives all of its images to both.
    """
    order = np.random.default_rng((seed, images)).permutation(images)
    verdict = order[wanted : 2 * wanted] if images >= 2 * wanted else order[-wanted:]
    return sorted(order[:wanted].tolist()), sorted(verdict.tolist())
