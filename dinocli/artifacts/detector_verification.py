"""Compare the graph of a detector with `segment --detector` on test images.

Legend: B images, C channels, H W pixels, h w rows and columns of the fine grid.
"""

import math
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor

from dinocli.artifacts.export_source import Source
from dinocli.artifacts.feature_graph import noise_image, of_cropped
from dinocli.augment.resample import normalise
from dinocli.data.canvas import Canvas, scaled
from dinocli.data.read import Reader
from dinocli.errors import WeightsError
from dinocli.models.export_graph import Compute
from dinocli.models.rounding import rounding_tolerance
from dinocli.segmentation.anomaly import FittedAnomaly, kinds_of
from dinocli.segmentation.anomaly_threshold import AUTO, STEEPNESS
from dinocli.segmentation.feature_extraction import FeatureExtraction
from dinocli.segmentation.method import FeatureGrid, PatchMaps
from dinocli.segmentation.patch_geometry import PatchGeometry
from dinocli.segmentation.segment_images import SegmentImage

CONTRASTS = 0.2, 0.05, 0.0
"""Contrasts of the test images of the size of the canvas: without contrast, the image score is not saturated."""

OTHER_SIZES = 0.6, 1.3
"""Sizes of further test images of a graph that resizes them, in canvases. Where PIL shrinks the height much more than
the width, it rounds the columns first, the graph always the rows."""

CHANGED_PIXELS = 0.01
"""Fraction of the pixels that may differ by one level between two resizes; up to 0.5 % do between PIL's and that of the
graph, which rounds other values of exactly one half up."""

SAFETY_FACTOR = 3.0
"""Tolerance by the estimated effect of rounding; five networks reach a third of the tolerance at most. Distances of a
graph that rounds a resize once in place of twice differ by four times as much."""

_HELD = 1e-3, 0.999  # values of an anomaly map that tell the distance: onnxruntime's sigmoid has errors of 1e-7
_SCENE_ROUNDING = 0.01  # relative distance to the limit of another scene within which rounding may decide
_SIGMOID_ROUNDING = 1e-7 / _HELD[0] / STEEPNESS


def verified_detector(
    compute: Compute, source: Source, fitted: FittedAnomaly, geometry: PatchGeometry, *, with_preprocessing: bool
) -> float:
    """Return the largest difference of the distances of a graph, in units of the threshold ``auto``.

    Args:
        compute: The graph.
        source: Its weights and their preprocessing.
        fitted: The fitted method.
        geometry: Its canvas and grid.
        with_preprocessing: The graph takes source values of any size.

    Raises:
        WeightsError: Distances differ by more than rounding explains, or a decision does.
    """
    preprocess, worst = of_cropped(source.preprocess), 0.0
    plain = replace(fitted, scale=replace(fitted.scale, scene_limit=math.inf))  # maps of other scenes, too
    judge = _Judge(replace(source, preprocess=preprocess), plain, geometry, with_preprocessing)
    batches = [[noise_image(preprocess, geometry.canvas, row, contrast) for row, contrast in enumerate(CONTRASTS)]]
    for row, scale in enumerate(OTHER_SIZES if with_preprocessing else (), len(CONTRASTS)):
        height, width = (round(scale * side) for side in geometry.canvas)
        batches.append([noise_image(preprocess, (height, width), row)])
    for pixels in batches:
        canvases = [judge.canvas(pixels_HWC) for pixels_HWC in pixels]
        values_BHWC = np.stack(pixels).astype(np.float32 if preprocess.deep else np.uint8)
        outputs = compute(torch.from_numpy(values_BHWC) if with_preprocessing else judge.normalised(canvases))
        for (score, map_hw, defective), canvas_CHW in zip(zip(*outputs, strict=True), canvases, strict=True):
            expected, tolerance = judge.expected(canvas_CHW)
            assert expected.distances_Fhw is not None
            other = fitted.scale.scene_ratio(expected.distances_Fhw)
            difference = _apart(expected, expected.score if other > 1 else score, map_hw)
            is_clear = abs(expected.metrics["furthest"] - 1) > tolerance and abs(other - 1) > _SCENE_ROUNDING
            wrong = bool(defective) == (bool(expected.empty_reason) and other <= 1)
            if not difference <= tolerance or (is_clear and (wrong or (other > 1 and float(score) != 1))):
                raise WeightsError(
                    f"the exported detector differs from segment by {difference:.2g} of the threshold, where rounding "
                    f"explains {tolerance:.2g}; report which model it was"
                )
            worst = max(worst, difference)
    return worst


@dataclass(frozen=True)
class _Judge:
    """The detector as `segment` computes it.

    Args:
        source: Weights and their preprocessing.
        fitted: The fitted method.
        geometry: Canvas and grid.
        with_preprocessing: The graph resizes source values.
    """

    source: Source
    fitted: FittedAnomaly
    geometry: PatchGeometry
    with_preprocessing: bool

    def canvas(self, pixels_HWC: NDArray[Any]) -> Canvas:
        """Map source values to the range, and resize them to the canvas."""
        return scaled(Reader(self.source.preprocess, sys.maxsize).in_memory(pixels_HWC), self.geometry.canvas)

    def normalised(self, canvases: list[Canvas]) -> Tensor:
        """Return the network input of canvases, (B, C, H, W)."""
        stacked, preprocess = np.stack(canvases), self.source.preprocess
        pixels_BCHW = torch.from_numpy(stacked.astype(np.float32)) / float(np.iinfo(stacked.dtype).max)
        return normalise(pixels_BCHW, preprocess.mean, preprocess.std)

    def expected(self, canvas_CHW: Canvas) -> tuple[PatchMaps, float]:
        """Return the maps of a canvas, and the difference of their distances that rounding explains.

        That of the network is relative to the length of its features; a resize within the graph adds the effect of
        `CHANGED_PIXELS` by one level.
        """
        maps, grid = self._judged(canvas_CHW)
        lengths = [np.linalg.norm(kind.values_hwD, axis=2).max() for kind in kinds_of(grid)]
        unit = self.fitted.scale.line(self.geometry.grid[0] * self.geometry.grid[1], AUTO)
        tolerance = rounding_tolerance(self.source.backbone) * float(sum(lengths)) / unit + _SIGMOID_ROUNDING
        if (self.with_preprocessing or self.fitted.features != "fine") and np.ptp(canvas_CHW):
            random, white = np.random.default_rng(0), int(np.iinfo(canvas_CHW.dtype).max)
            changed_CHW = random.choice([-1, 1], canvas_CHW.shape) * (random.random(canvas_CHW.shape) < CHANGED_PIXELS)
            other, _ = self._judged((canvas_CHW + changed_CHW).clip(0, white).astype(canvas_CHW.dtype))
            tolerance += _apart(maps, other.score, other.saliency())
        return maps, SAFETY_FACTOR * tolerance

    def _judged(self, canvas_CHW: Canvas) -> tuple[PatchMaps, FeatureGrid]:
        source, kind, side = self.source, self.fitted.feature_kind, min(self.geometry.canvas)
        extraction = FeatureExtraction(source.backbone, source.preprocess, kind, torch.device("cpu"), side)
        grid = extraction.grid(SegmentImage(0, canvas_CHW, canvas_CHW, self.geometry, None, None))
        return self.fitted.apply(grid), grid


def _apart(maps: PatchMaps, score: float, map_hw: NDArray[np.float32]) -> float:
    """Return the largest difference of distances to those of an image, in units of the threshold ``auto``."""
    found, expected = (
        logit(np.append(values, value).astype(np.float64).clip(*_HELD)) / STEEPNESS
        for values, value in ((map_hw, score), (maps.saliency(), maps.score))
    )
    return float(np.abs(found - expected).max())
