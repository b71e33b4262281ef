"""The fixed set of images on which a run looks at itself: the same images and the same augmented views, every time.

The start, that is the weights before the first step, is measured first: it is step 0 of every curve.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.multicrop import MultiCrop
from dinocli.augment.resample import normalise, resize_square
from dinocli.config.preprocess import Preprocess
from dinocli.data.loader import Loader
from dinocli.engine.device import DTYPES, Precision
from dinocli.models.backbone import Backbone
from dinocli.models.features import extract
from dinocli.quality.verdict import Scores, measure

PROBE_BATCH = 64
PROBE_SEED_STEP = 0


@dataclass(frozen=True)
class Look:
    """What one look at the probe set gave.

    Args:
        step: Steps done.
        scores: The label-free scores.
        ranks_N: Reciprocal rank of each probe image, to compare two looks image by image.
    """

    step: int
    scores: Scores
    ranks_N: NDArray[np.float64]

    def to_dict(self) -> dict[str, object]:
        """Return JSON-like data for a checkpoint."""
        return {"step": self.step, "scores": vars(self.scores).copy(), "ranks": self.ranks_N.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, object]) -> "Look":
        """Build a look from `to_dict` data."""
        return cls(int(data["step"]), Scores(**data["scores"]), np.array(data["ranks"]))  # type: ignore[arg-type,call-overload]


class Probe:
    """Measures any backbone on the probe images.

    Args:
        loader: Gives the images.
        indices: Which images, by their place in the store.
        views: Two global views of the run's own augmentation at the size of evaluation; the first is the query.
        preprocess: Size and normalisation.
        precision: What the features are computed in.
    """

    def __init__(
        self,
        loader: Loader,
        indices: Sequence[int],
        views: MultiCrop,
        preprocess: Preprocess,
        precision: Precision,
    ) -> None:
        self.loader, self.indices, self.views = loader, indices, views
        self.preprocess, self.precision = preprocess, precision
        self._start_ND: NDArray[np.float32] | None = None

    def look(self, backbone: Backbone, step: int) -> Look:
        """Measure a backbone; the first one measured is the start that all are compared with."""
        clean_ND = self.features(backbone, self.indices)
        augmented_ND = self._extract(backbone, self._augmented())
        if self._start_ND is None:
            self._start_ND = clean_ND
        scores, ranks_N = measure(clean_ND, augmented_ND, self._start_ND)
        return Look(step, scores, ranks_N)

    def features(self, backbone: Backbone, indices: Sequence[int]) -> NDArray[np.float32]:
        """Return the features of whole images, squashed to the square of evaluation: (len(indices), D)."""
        return self._extract(backbone, self._clean(indices))

    def _extract(self, backbone: Backbone, batches: Iterator[Tensor]) -> NDArray[np.float32]:
        return extract(backbone, batches, autocast=DTYPES.get(self.precision.name))

    def _clean(self, indices: Sequence[int]) -> Iterator[Tensor]:
        for batch in self.loader.whole(indices, PROBE_BATCH):
            pixels_BCHW = batch.pixels_BCHW.to(self.precision.device)
            square_BCSS = resize_square(pixels_BCHW, batch.sizes_B2, self.preprocess.size)
            yield normalise(square_BCSS, self.preprocess.mean, self.preprocess.std)

    def _augmented(self) -> Iterator[Tensor]:
        for batch in self.loader.whole(self.indices, PROBE_BATCH):
            images = len(batch.sizes_B2)
            (views_VB3SS,) = self.views(
                batch.pixels_BCHW.to(self.precision.device),
                batch.sizes_B2,
                step=PROBE_SEED_STEP,
                start=batch.start,
                global_batch=len(self.indices),
            )
            yield views_VB3SS[:images]


def probe_indices(images: int, wanted: int, seed: int) -> list[int]:
    """Choose the probe images: a seeded sample without repetition, in the folder's order."""
    generator = np.random.default_rng((seed, images))
    return sorted(generator.choice(images, size=min(wanted, images), replace=False).tolist())
