"""A fixed set of images on which a run looks at itself: the same images and the same crops, every time.

The start, that is the weights before the first step, is measured first: it is step 0 of every curve. A run has two such
sets. The guard chooses the best step by one; the verdict is measured on the other, because the best of ten looks at the
same images is a little lucky on these images.

Shapes: N images, M parts of all of them, Q views of each, B images at once, S side of the square, s of a part, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
from dinocli.quality.selection_scores import PARTS, SelectionScore
from dinocli.quality.verdict import Scores, measure

PROBE_BATCH = 64
DRAWS_APART = 2
"""There are two probes: one draws 0, 2, 4 and so on, the other 1, 3, 5."""


@dataclass(frozen=True)
class ProbeResult:
    """What one look at the probe set gave.

    Args:
        step: Steps done.
        scores: The label-free scores.
        values_U: The score that chooses, of each probe image or group of them, to compare two looks pair by pair.
    """

    step: int
    scores: Scores
    values_U: NDArray[np.float64]

    @property
    def score(self) -> float:
        """The score that chooses; higher is better, and not a number where the features are not finite."""
        return float(self.values_U.mean())

    def to_dict(self) -> dict[str, object]:
        """Return JSON-like data for a checkpoint."""
        return {"step": self.step, "scores": vars(self.scores).copy(), "values": self.values_U.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, object]) -> "ProbeResult":
        """Build a look from `to_dict` data."""
        return cls(int(data["step"]), Scores(**data["scores"]), np.array(data["values"]))  # type: ignore[arg-type,call-overload]


class Probe:
    """Measures any backbone on the probe images.

    Args:
        loader: Gives the images.
        indices: Which images, by their place in the store.
        views: The run's own global crop at the size of evaluation: the query.
        draw: Number of the views' first random draw; another number gives other views.
        preprocess: Size and normalisation.
        choice: The score that chooses.
    """

    def __init__(
        self,
        loader: Loader,
        indices: Sequence[int],
        views: MultiCrop,
        draw: int,
        preprocess: Preprocess,
        choice: SelectionScore,
    ) -> None:
        self.loader, self.indices, self.views, self.draw = loader, indices, views, draw
        self.preprocess, self.choice = preprocess, choice
        self._start_ND: NDArray[np.float32] | None = None
        self.clean_ND, self.rows = np.empty((0, 0), np.float32), list[int]()

    @property
    def work(self) -> int:
        """How many whole images' worth goes through the network in a look: each image, its crops, and its quarters.

        Quarters that a model of one size needs enlarged cost more than is counted here.
        """
        return len(self.indices) * (1 + self.choice.views + self.choice.parts)

    def look(self, backbone: Backbone, step: int) -> ProbeResult:
        """Measure a backbone; the first one measured is the start that all are compared with.

        What it saw stays in `clean_ND` and `rows` until the next look.
        """
        self.clean_ND, self.rows = clean_ND, _ = self.features(backbone, self.indices)
        draws = [self.draw + DRAWS_APART * number for number in range(self.choice.views)]
        seen = [extract(backbone, self._augmented(draw), autocast=None) for draw in draws]
        if self.choice.parts:
            parts_MD = extract(backbone, self._parts(backbone), autocast=None)
            seen += list(parts_MD.reshape(-1, PARTS, parts_MD.shape[1]).swapaxes(0, 1))
        views_QND = np.stack(seen)
        if self._start_ND is None:
            self._start_ND = clean_ND
        return ProbeResult(step, *measure(clean_ND, views_QND, self._start_ND, self.choice))

    def features(self, backbone: Backbone, indices: Sequence[int]) -> tuple[NDArray[np.float32], list[int]]:
        """Return the features of whole images, squashed to the square of evaluation.

        Returns:
            (N, D), and the N indices themselves: while streaming, a file may turn out to be broken, and is left out.
        """
        return whole_features(self.loader, backbone, indices, self.preprocess)

    def _parts(self, backbone: Backbone) -> Iterator[Tensor]:
        """Yield the corners of each whole image, one image after the other; enlarged for a model of one size."""
        side = part_side(self.preprocess.size, backbone)
        first, last = slice(side), slice(-side, None)
        for image_B3SS in _whole(self.loader, self.indices, self.preprocess, []):
            corners = [image_B3SS[:, :, rows, columns] for rows in (first, last) for columns in (first, last)]
            parts_M3ss = torch.stack(corners, dim=1).flatten(0, 1)
            yield F.interpolate(parts_M3ss, image_B3SS.shape[-2:], mode="bicubic") if backbone.one_size else parts_M3ss

    def _augmented(self, draw: int) -> Iterator[Tensor]:
        for batch in self.loader.whole(self.indices, PROBE_BATCH):
            (views_B3SS,) = self.views(
                batch.pixels_BCHW,
                batch.sizes_B2,
                step=draw,
                start=batch.start,
                global_batch=len(self.indices),
            )
            yield views_B3SS


def part_side(size: int, backbone: Backbone) -> int:
    """Return the side of a quarter of an image of so many pixels, in whole patches."""
    patch = backbone.patch or 1
    return max(1, size // 2 // patch) * patch


def whole_features(
    loader: Loader, backbone: Backbone, indices: Sequence[int], preprocess: Preprocess
) -> tuple[NDArray[np.float32], list[int]]:
    """Return the features of whole images, as `Probe.features` does."""
    rows: list[int] = []
    # In float32, whatever the training computes in: bfloat16 alone moved a k-NN accuracy by half a point.
    return extract(backbone, _whole(loader, indices, preprocess, rows), autocast=None), rows


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
