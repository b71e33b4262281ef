"""The anomaly method with its backbone as one exportable graph of a fixed canvas: image to score, map and decision.

On a fixed canvas every filter and resampling of a map is one constant matrix for each axis: what the code of the method
makes of the identity.

Legend: B images, C channels of the source, I those of the backbone, H W pixels, n m pixels of a resized image, D width,
h w rows and columns of the fine grid, r c those of the grid of one kind of features, N its patches, M patches of a
bank, E = D + 1, F kinds of features.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from dinocli.config.preprocess import GREY_OR_RGB, Preprocess
from dinocli.models.backbone import Backbone
from dinocli.models.graph_pipeline import Exportable, GraphPreprocessing
from dinocli.models.patches import COARSE, coarse_features, patch_features
from dinocli.models.portable import resize_matrix
from dinocli.quality.image_scores import top_count
from dinocli.quality.patch_bank import ROUNDING, PatchBank
from dinocli.segmentation.anomaly import COARSE_SMOOTHING, SMOOTHING, FittedAnomaly
from dinocli.segmentation.anomaly_threshold import AUTO, STEEPNESS
from dinocli.segmentation.distance_scale import coarse_weight
from dinocli.segmentation.feature_extraction import coarse_size
from dinocli.segmentation.patch_geometry import PatchGeometry, Size
from dinocli.segmentation.position_maps import resampled

ANOMALY_OUTPUTS = "score", "anomaly_map", "defective"

_BLOCK = 1024  # patches of a bank compared at a time: the distances to all of 4,096 take 60 MB for each image


class PixelResize(nn.Module):
    """PIL's antialiased bicubic resize of pixel values, with its rounding.

    Args:
        preprocess: Preprocessing of the images.
        size: Size of the result, pixels.
    """

    def __init__(self, preprocess: Preprocess, size: Size) -> None:
        super().__init__()
        self.size, self.white = size, 65535.0 if preprocess.deep else 255.0
        # PIL resizes along the width first, and bytes are rounded after it.
        self.bytes = not preprocess.deep and preprocess.canvas_channels in GREY_OR_RGB

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Resize pixels between 0 and white; the result is whole numbers."""
        down_nH, across_mW = (resize_matrix(*sides) for sides in zip(self.size, pixels_BCHW.shape[2:], strict=True))
        narrow_BCHm = pixels_BCHW @ across_mW.T
        if self.bytes:
            narrow_BCHm = narrow_BCHm.clamp(0.0, self.white).round()
        return (down_nH @ narrow_BCHm).clamp(0.0, self.white).round()


class CanvasPreprocessing(GraphPreprocessing):
    """Preprocessing to a canvas in place of a square.

    Args:
        preprocess: As `GraphPreprocessing`.
        canvas: Size of the canvas, pixels.
    """

    def __init__(self, preprocess: Preprocess, canvas: Size) -> None:
        super().__init__(preprocess)
        self.resize = PixelResize(preprocess, canvas)

    def resized(self, levels_BCHW: Tensor) -> Tensor:
        """Resize source levels to the canvas, 0 to 1."""
        canvas_BCHW: Tensor = self.resize(levels_BCHW)
        return canvas_BCHW / self.levels


class CoarseImage(nn.Module):
    """Downscale normalised canvases for coarse features, as pixels.

    Args:
        preprocess: Preprocessing of the weights.
        canvas: Size of the canvas, pixels.
    """

    mean_I11: Tensor
    std_I11: Tensor

    def __init__(self, preprocess: Preprocess, canvas: Size) -> None:
        super().__init__()
        self.resize = PixelResize(preprocess, coarse_size(canvas))
        self.register_buffer("mean_I11", torch.tensor(preprocess.mean)[:, None, None])
        self.register_buffer("std_I11", torch.tensor(preprocess.std)[:, None, None])

    def forward(self, x_BIHW: Tensor) -> Tensor:
        """Return normalised images (B, I, n, m)."""
        pixels_BIHW = ((x_BIHW * self.std_I11 + self.mean_I11) * self.resize.white).round()
        small_BInm: Tensor = self.resize(pixels_BIHW)
        return (small_BInm / self.resize.white - self.mean_I11) / self.std_I11


class NearestDistance(nn.Module):
    """Smoothed distance of each patch to its nearest one in a bank, on the fine grid.

    Args:
        bank: Typical patches of one kind of features.
        grid: Rows and columns of these features.
        fine_grid: Rows and columns of the fine grid.
        coarse: Coarse features are not centred, and their distances are resampled to the fine grid.
    """

    bank_EM: Tensor
    down_hr: Tensor
    across_wc: Tensor

    def __init__(self, bank: PatchBank, grid: Size, fine_grid: Size, *, coarse: bool) -> None:
        super().__init__()
        half_M1 = (bank.features_MD**2).sum(axis=1, keepdims=True) / -2
        self.register_buffer("bank_EM", _tensor(np.concatenate([bank.features_MD, half_M1], axis=1).T))
        sigma = COARSE_SMOOTHING if coarse else SMOOTHING
        for name, old, new in zip(("down_hr", "across_wc"), grid, fine_grid, strict=True):
            matrix = np.eye(old, dtype=np.float32)
            matrix = resampled(matrix, (new, old)) if coarse else matrix
            self.register_buffer(name, _tensor(gaussian_filter1d(matrix, sigma, axis=0, mode="nearest")))
        self.grid, self.coarse = grid, coarse

    def forward(self, features_BDrc: Tensor) -> Tensor:
        """Return distances (B, h, w)."""
        features_BDN = features_BDrc.flatten(2)
        if not self.coarse:
            features_BDN = features_BDN - median(features_BDN)
        squared_BN = features_BDN.square().sum(dim=1)
        extended_BNE = F.pad(features_BDN.transpose(1, 2), (0, 1), value=1.0)
        closest = [(extended_BNE @ block_EM).amax(dim=2) for block_EM in torch.split(self.bank_EM, _BLOCK, dim=1)]
        distance_BN = squared_BN - 2 * torch.stack(closest).amax(dim=0)
        nearest_BN = torch.where(distance_BN > ROUNDING * squared_BN, distance_BN, 0.0).sqrt()
        nearest_Brc = nearest_BN.reshape(-1, *self.grid)
        return self.down_hr @ nearest_Brc @ self.across_wc.T


class AnomalyGraph(Exportable):
    """From images to the outputs of a fitted method.

    Args:
        backbone: On the CPU, in eval mode; shared, not copied.
        fitted: The fitted method, without cluster-enhanced heights.
        preprocess: Preprocessing of the weights.
        geometry: Canvas and fine grid.
        with_preprocessing: The graph takes source values of any size, not normalised canvases.
    """

    remedy = "judge images with `dinocli segment --detector`, and tell us which model it was"
    place_Fhw: Tensor
    spread_Fhw: Tensor

    def __init__(
        self,
        backbone: Backbone,
        fitted: FittedAnomaly,
        preprocess: Preprocess,
        geometry: PatchGeometry,
        *,
        with_preprocessing: bool,
    ) -> None:
        super().__init__()
        self.outputs = list(ANOMALY_OUTPUTS)
        self.before = CanvasPreprocessing(preprocess, geometry.canvas) if with_preprocessing else None
        self.backbone, self.canvas, scale = backbone, geometry.canvas, fitted.scale
        self.shrink = CoarseImage(preprocess, geometry.canvas) if fitted.features != "fine" else None
        self.has_fine, (rows, columns) = fitted.features != "coarse", coarse_size(geometry.canvas)
        grids = [geometry.grid] * self.has_fine + [(rows // COARSE, columns // COARSE)] * (self.shrink is not None)
        self.distances = nn.ModuleList(
            NearestDistance(bank, grid, geometry.grid, coarse=self.shrink is not None and number == len(grids) - 1)
            for number, (bank, grid) in enumerate(zip(fitted.banks, grids, strict=True))
        )
        for name, maps in (("place_Fhw", scale.place_FPP), ("spread_Fhw", scale.spread_FPP)):
            self.register_buffer(name, _tensor(np.stack([resampled(map_PP, geometry.grid) for map_PP in maps])))
        self.weight, self.level, self.scene_limit = coarse_weight(scale.maxima_FS), scale.level, scale.scene_limit
        self.patches = geometry.grid[0] * geometry.grid[1]
        self.unit, self.line = (scale.line(self.patches, one) for one in (AUTO, fitted.threshold))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the image score (B,), the anomaly map (B, h, w), and whether the image is defective, (B,).

        It is if the map exceeds the threshold, or if it is another scene than the good images; its score is then 1.

        Args:
            images: (B, H, W, C) source values of any size, or (B, I, H, W) normalised canvases.
        """
        x_BIHW = images if self.before is None else self.before(images)
        features = [patch_features(self.backbone, x_BIHW)] if self.has_fine else []
        if self.shrink is not None:
            features.append(coarse_features(self.backbone, self.shrink(x_BIHW)))
        pairs = zip(self.distances, features, strict=True)
        distances_BFN = torch.stack([distance(one) for distance, one in pairs], dim=1).flatten(2)
        without_BFN = distances_BFN - self.place_Fhw.flatten(1)
        spread_FN = self.spread_Fhw.flatten(1)
        kinds_BFN = (without_BFN - median(without_BFN)) / spread_FN
        far_BN = self._sum(kinds_BFN)
        overall_B = self._score(far_BN)
        if self.has_fine:
            whole_BFN = torch.cat([without_BFN[:, :1] / spread_FN[:1], kinds_BFN[:, 1:]], dim=1)
            overall_B = self._score(self._sum(whole_BFN)) - self.level
        map_Bhw = self._soft(far_BN).reshape(-1, *self.place_Fhw.shape[1:])
        score_B, defective_B = self._soft(overall_B), far_BN.amax(dim=1) > self.line
        if self.scene_limit < math.inf:
            other_B = median(distances_BFN)[:, -1, 0] > self.scene_limit
            score_B, defective_B = torch.where(other_B, 1.0, score_B), defective_B | other_B
        return score_B, map_Bhw, defective_B

    def _sum(self, kinds_BFN: Tensor) -> Tensor:
        return kinds_BFN[:, 0] + self.weight * kinds_BFN[:, 1:].sum(dim=1)

    def _score(self, far_BN: Tensor) -> Tensor:
        return far_BN.topk(top_count(self.patches), dim=1).values.mean(dim=1)

    def _soft(self, far: Tensor) -> Tensor:
        return ((far - self.unit) * (STEEPNESS / self.unit)).sigmoid()

    def example(self) -> Tensor:
        """Return an example input for the export."""
        return self.before.example() if self.before else torch.zeros(2, self.backbone.in_chans, *self.canvas)

    def axes(self) -> dict[int, Any]:
        """Return the dynamic axes: the batch, and with preprocessing the sides of the images."""
        return self.before.axes() if self.before else {0: torch.export.Dim("batch")}


def median(values: Tensor) -> Tensor:
    """Return the median over the last axis, which stays, as numpy: the mean of the middle two of an even number."""
    count = values.shape[-1]
    lowest = values.topk(count // 2 + 1, dim=-1, largest=False).values
    return (lowest[..., (count - 1) // 2, None] + lowest[..., count // 2, None]) / 2


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
