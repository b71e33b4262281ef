"""Probe: label-free scores of a network on a fixed set of images, with fixed crops and synthetic defects.

The start weights are measured first, as step 0 of every curve. A run has two probes: the guard selects the best step on
one, and the verdict is measured on the other, because the maximum of several measurements is biased upwards on the
images that selected it.

Shapes: N images, M = 4 N quadrants, B images of a batch, S side of the square, s side of a quadrant, D width, K passes
with a synthetic defect.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.multicrop import MultiCrop
from dinocli.augment.resample import normalise, resize_square
from dinocli.augment.synthetic_defects import KINDS, draw_defects, with_defects
from dinocli.config.preprocess import Preprocess
from dinocli.data.loader import Loader
from dinocli.engine.rare_probe import fit_to_probe
from dinocli.engine.square_resize import square_batches
from dinocli.models.backbone import Backbone
from dinocli.models.features import Extractor, extract
from dinocli.models.frozen_teacher import TeacherWeights
from dinocli.models.tokens import POOLED
from dinocli.quality.crop_quadrant_retrieval import QUADRANTS
from dinocli.quality.probe_result import Features, ProbeFeatures, ProbeResult
from dinocli.quality.selection_score import CROP_QUADRANT, TEACHER_NEIGHBOURS, SelectionScore
from dinocli.quality.shared_neighbours import shared_neighbours

PROBE_BATCH = 32  # 64 images of 224 px take 1.4 GB more in a small convnet, and are not faster on a CPU
PASSES_WITHOUT_DEFECTS = 3
"""Passes over the images per measurement: whole images, crops, quadrants; those with synthetic defects follow."""

Batches = Iterator[tuple[Tensor, list[int]]]
"""Normalised pixels of a batch, and the indices of its images in the store."""


class Measured(NamedTuple):
    """Result of a probe, and the features of the whole images that it is computed from."""

    result: ProbeResult
    clean_ND: Features


class ProbeSample(NamedTuple):
    """Images of a probe, and the draw of their crops and synthetic defects.

    Args:
        indices: Indices of the images in the store.
        draw: Seed of the crops and of the synthetic defects.
        defects: Kinds of synthetic defects on each image: none, one of them, or every one in a pass of its own, as for
            a verdict.
        rare: Also measure synthetic defects with `pooled+rare`, fitted to the images of the probe.
    """

    indices: Sequence[int]
    draw: int
    defects: Literal["none", "one", "every"] = "every"
    rare: bool = False


class Probe:
    """Measures backbones on the probe images.

    Args:
        loader: Source of the images.
        sample: The probe images.
        crop: Augmentation with one crop at the evaluation size, without photometric operations.
        preprocess: Size and normalisation.
        advance: Receives the number of processed images.
        teacher: Frozen teacher; the selection score is then the share of nearest neighbours in common with it.
    """

    def __init__(
        self,
        loader: Loader,
        sample: ProbeSample,
        crop: MultiCrop,
        preprocess: Preprocess,
        advance: Callable[[int], None] = lambda _: None,
        teacher: TeacherWeights | None = None,
    ) -> None:
        self.loader, self.crop, self.preprocess = loader, crop, preprocess
        self.indices, self.draw, defects, self.rare = sample
        self.advance, self.teacher = advance, teacher
        self.score: SelectionScore = TEACHER_NEIGHBOURS if teacher else CROP_QUADRANT
        self._teacher_ND: Features | None = None
        self.start: Measured | None = None
        self.last: Measured | None = None
        self.rows: list[int] = []
        self._places = {row: place for place, row in enumerate(self.indices)}
        kind_N, drawn_NF = draw_defects(len(self.indices), self.draw)
        every_kind = [torch.full_like(kind_N, kind) for kind in range(len(KINDS))]
        kinds = {"none": [], "one": [kind_N], "every": every_kind}[defects]
        self._passes = [(kinds_N, drawn_NF) for kinds_N in kinds]

    @property
    def images_per_measurement(self) -> int:
        """Number of images over all passes of a measurement."""
        return (PASSES_WITHOUT_DEFECTS + len(self._passes) + self.rare) * len(self.indices)

    def measure(self, backbone: Backbone, step: int) -> ProbeResult:
        """Measure a backbone; the first one measured is the start, with which the others are compared.

        Results and features of the first and the last measurement stay in `start` and `last`, their images in `rows`.
        """
        start_ND = self.start.clean_ND if self.start else None
        both = fit_to_probe(backbone, self._whole(), start_ND, self.advance) if self.rare else None
        features = self.extract(backbone, both or POOLED)
        rare_defects_N = np.full(len(features.rows) if self.rare else 0, np.nan)
        if both:
            features, rare_defects_N = features.split_rare(backbone.dim)
        self.rows = features.rows
        result = features.measured(step, features.clean_ND if start_ND is None else start_ND)
        result = replace(result, rare_defects_N=rare_defects_N)
        if self.teacher and result.scores.finite:
            if self._teacher_ND is None:
                self._teacher_ND = self.teacher_features(self.indices)
            result = replace(result, values_N=shared_neighbours(features.clean_ND, self._teacher_ND))
        self.last = Measured(result, features.clean_ND)
        self.start = self.start or self.last
        return result

    def extract(self, backbone: Backbone, tokens: Extractor = POOLED) -> ProbeFeatures:
        """Compute the features of the whole images, a crop, the quadrants and copies with synthetic defects.

        Args:
            backbone: On the device of the loader.
            tokens: Kind of features; by default the pooled feature, which training optimises.
        """
        features = partial(_features, backbone, advance=self.advance, tokens=tokens)
        clean_ND, rows = features(self._whole())
        crop_ND, _ = features(self._crops())
        quadrants_MD, _ = features(self._quadrants(backbone))
        quadrants_4ND = quadrants_MD.reshape(-1, QUADRANTS, quadrants_MD.shape[1]).swapaxes(0, 1)
        places = [self._places[row] for row in rows]
        defects = [
            (features(self._defects(kind_N, drawn_NF))[0], kind_N[places].numpy()) for kind_N, drawn_NF in self._passes
        ]
        return ProbeFeatures(rows, clean_ND, crop_ND, quadrants_4ND, defects)

    def features(self, backbone: Backbone, indices: Sequence[int]) -> tuple[NDArray[np.float32], list[int]]:
        """Return the features of whole images, resized to the evaluation square.

        Returns:
            (N, D), and the N indices: while streaming, unreadable files are left out.
        """
        return whole_features(self.loader, backbone, indices, self.preprocess, self.advance)

    def teacher_features(self, indices: Sequence[int]) -> Features:
        """Return the frozen teacher's features of whole images, with its size and normalisation: (N, D)."""
        assert self.teacher is not None
        of_teacher = self.teacher.preprocess(self.preprocess)
        return whole_features(self.loader, self.teacher.backbone, indices, of_teacher)[0]

    def _whole(self) -> Batches:
        return square_batches(self.loader, self.indices, self.preprocess, PROBE_BATCH)

    def _defects(self, kind_N: Tensor, drawn_NF: Tensor) -> Batches:
        """Yield each whole image with a synthetic defect."""
        for batch in self.loader.batches(self.indices, PROBE_BATCH):
            square_BCSS = resize_square(batch.pixels_BCHW, batch.sizes_B2, self.preprocess.size)
            places = [self._places[row] for row in batch.rows]
            defect_BCSS = with_defects(square_BCSS, kind_N[places], drawn_NF[places])
            yield normalise(defect_BCSS, self.preprocess.mean, self.preprocess.std), batch.rows

    def _quadrants(self, backbone: Backbone) -> Batches:
        """Yield the quadrants of each whole image, image-major.

        Their side is a multiple of the patch size; they are upscaled for a model of fixed input size.
        """
        patch = backbone.patch or 1
        side = max(1, self.preprocess.size // 2 // patch) * patch
        first, last = slice(side), slice(-side, None)
        for image_B3SS, rows in self._whole():
            corners = [image_B3SS[:, :, down, across] for down in (first, last) for across in (first, last)]
            quadrants_M3ss = torch.stack(corners, dim=1).flatten(0, 1)
            if backbone.fixed_size:
                quadrants_M3ss = F.interpolate(quadrants_M3ss, image_B3SS.shape[-2:], mode="bicubic")
            yield quadrants_M3ss, rows

    def _crops(self) -> Batches:
        for batch in self.loader.batches(self.indices, PROBE_BATCH):
            place = {"step": self.draw, "start": batch.start, "global_batch": len(self.indices)}
            (crops_B3SS,) = self.crop(batch.pixels_BCHW, batch.sizes_B2, **place)
            yield crops_B3SS, batch.rows


def forwards_per_image(backbone: Backbone, *, defects: bool) -> int:
    """Return the cost of a probe image in forward passes: image, crop, quadrants, and a copy with a synthetic defect.

    Four quadrants cost as much as one image, or four if a model of fixed input size needs them upscaled.
    """
    return 2 + defects + (QUADRANTS if backbone.fixed_size else 1)


def whole_features(
    loader: Loader,
    backbone: Backbone,
    indices: Sequence[int],
    preprocess: Preprocess,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Features, list[int]]:
    """Return the features of whole images; see `Probe.features`."""
    return _features(backbone, square_batches(loader, indices, preprocess, PROBE_BATCH), advance)


def _features(
    backbone: Backbone, batches: Batches, advance: Callable[[int], None], tokens: Extractor = POOLED
) -> tuple[Features, list[int]]:
    """Return the features of all batches, and the indices of their images."""
    read: list[int] = []

    def images() -> Iterator[Tensor]:
        for images_B3SS, rows in batches:
            read.extend(rows)
            advance(len(rows))
            yield images_B3SS

    # In float32 for any training precision: bfloat16 changed a k-NN accuracy by half a point.
    return extract(backbone, images(), autocast=None, tokens=tokens), read


def probe_indices(images: int, count: int, seed: int) -> tuple[list[int], list[int]]:
    """Return the images of the guard and those of the verdict: seeded random samples, sorted.

    They are disjoint if the folder has `2 * count` images. In a smaller one they overlap, and up to `count` images both
    are all images.
    """
    order = np.random.default_rng((seed, images)).permutation(images)
    verdict = order[count : 2 * count] if images >= 2 * count else order[-count:]
    return sorted(order[:count].tolist()), sorted(verdict.tolist())
