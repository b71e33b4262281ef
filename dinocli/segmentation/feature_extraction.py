"""Images in, one grid of features each out: at one scale, or in tiles that are blended.

Legend: C channels, H W pixels, h w cells, D width, T tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.resample import normalise
from dinocli.config.preprocess import Preprocess
from dinocli.data.read import Canvas, scaled
from dinocli.data.tiling import Blend, Tiling, grid_tiles
from dinocli.errors import UsageError
from dinocli.models.attention import attend
from dinocli.models.backbone import Backbone
from dinocli.models.patches import (
    COARSE,
    DEEP,
    FINE,
    coarse_features,
    object_features,
    patch_features,
    place_features,
)
from dinocli.segmentation.method import FeatureGrid, FeatureKind
from dinocli.segmentation.patch_geometry import canvas_size
from dinocli.segmentation.segment_images import GridLayout, SegmentImage, SegmentReader

TILES_AT_ONCE = 8

COARSE_REDUCTION = 3
"""Factor by which images are reduced for coarse features: large, faint defects of magnetic tiles stood out at 160 px
and not at 480."""

MIN_COARSE_SIDE = 96
"""Minimum shorter side of the reduced image, pixels: six cells."""


@dataclass(frozen=True)
class FeatureExtraction:
    """Looks at images with a backbone.

    Args:
        backbone: In eval mode, on the device.
        preprocess: How images are read and normalised.
        feature_kind: What is wanted of every patch.
        device: Of the backbone.
        size: Pixels of the canvas's shorter side; 0 keeps every image's own scale.
        tiling: Cut canvases into tiles, or None.
        query: See `feature_grids`.
        autocast: Type to compute in, or None.
    """

    backbone: Backbone
    preprocess: Preprocess
    feature_kind: FeatureKind
    device: torch.device
    size: int
    tiling: Tiling | None = None
    query: tuple[float, float] | None = None
    autocast: torch.dtype | None = None

    def __post_init__(self) -> None:
        least = COARSE_REDUCTION * MIN_COARSE_SIDE
        if self.feature_kind == FeatureKind.COARSE and (self.backbone.is_vit or self.tiling or self.size < least):
            raise UsageError(f"--coarse needs a convnet, --size {least} or more and no --tile: leave it out")

    @property
    def reader(self) -> SegmentReader:
        """Who reads the images."""
        layout = grid_layout(self.backbone, self.feature_kind)
        return SegmentReader(self.preprocess, self.size, layout, tiled=self.tiling is not None)

    def grid(self, picture: SegmentImage) -> FeatureGrid:
        """Look at one image."""
        if self.feature_kind == FeatureKind.COARSE:
            return self._coarse(picture)
        tiling = self.tiling
        values_hwD = self._blended(picture, tiling) if tiling else self._features([picture.canvas_CHW])[0]
        has_deep = self.feature_kind == FeatureKind.KEYS and not self.backbone.is_vit
        deep = partial(self._deep, picture.canvas_CHW) if has_deep else None
        return FeatureGrid(values_hwD, picture.image, picture.inside_hw, deep)

    def _coarse(self, picture: SegmentImage) -> FeatureGrid:
        """Compute coarse features of an image, reduced by `COARSE_REDUCTION`."""
        height, width = picture.canvas_CHW.shape[1:]
        size = canvas_size((height, width), short_side=min(height, width) // COARSE_REDUCTION, multiple=DEEP)
        (values_hwD,) = self._features([scaled(picture.canvas_CHW, size)])
        rows, columns, _ = values_hwD.shape
        return FeatureGrid(
            values_hwD, picture.image, picture.inside_cells((rows, columns)), fine_size=picture.geometry.grid
        )

    def _deep(self, canvas_CHW: Canvas) -> NDArray[np.float32] | None:
        x_BCHW = normalise(self._pixels([canvas_CHW]), self.preprocess.mean, self.preprocess.std)
        return deep_grid(self.backbone, x_BCHW, self.autocast)

    def _blended(self, picture: SegmentImage, tiling: Tiling) -> NDArray[np.float32]:
        patch, step, multiple = grid_layout(self.backbone, self.feature_kind)
        side = round(tiling.size / multiple) * multiple
        if side < 2 * multiple:
            raise UsageError(
                f"--tile {tiling.size} is less than two patches of {multiple} px: use {4 * multiple} or more"
            )
        pixels = [min(side, whole) for whole in picture.geometry.canvas]
        rows, columns = ((length - patch) // step + 1 for length in pixels)
        overlap = min(-(-tiling.overlap // step), min(rows, columns) // 2)
        blend = Blend(picture.geometry.grid)
        cut = grid_tiles(picture.geometry.grid, (rows, columns), overlap, align=multiple // step)
        while some := list(islice(cut, TILES_AT_ONCE)):
            corners = [(part.row * step, part.column * step) for part in some]
            tiles = [picture.canvas_CHW[:, y : y + pixels[0], x : x + pixels[1]] for y, x in corners]
            for part, values_hwD in zip(some, self._features(tiles), strict=True):
                blend.add(part, values_hwD)
        return blend.result()

    def _features(self, canvases: Sequence[Canvas]) -> NDArray[np.float32]:
        x_BCHW = normalise(self._pixels(canvases), self.preprocess.mean, self.preprocess.std)
        return feature_grids(self.backbone, x_BCHW, self.feature_kind, query=self.query, autocast=self.autocast)

    def _pixels(self, canvases: Sequence[Canvas]) -> Tensor:
        """Return canvases of one size as (B, C, H, W) floats in [0, 1] on the device."""
        stacked = np.stack(canvases)
        white = float(np.iinfo(stacked.dtype).max)
        return torch.from_numpy(stacked).to(self.device).float() / white


def check_tiling(name: str, tiling: Tiling | None, *, whole_image_only: bool) -> None:
    """Raise a `UsageError` for a method that has to see an image in one piece."""
    if tiling and whole_image_only:
        raise UsageError(f"--method {name} looks across the whole image, which --tile would cut: leave --tile out")


def grid_layout(backbone: Backbone, feature_kind: FeatureKind) -> GridLayout:
    """Return how the grids of `feature_grids` lie on the pixels; of coarse features that of their distances."""
    if backbone.is_vit:
        return GridLayout(backbone.patch, backbone.stride, backbone.patch)
    stride = COARSE if feature_kind == FeatureKind.KEYS else FINE
    return GridLayout(stride, stride, DEEP)  # no feature map is rounded up


@torch.inference_mode()
def feature_grids(
    backbone: Backbone,
    x_BCHW: Tensor,
    feature_kind: FeatureKind,
    *,
    query: tuple[float, float] | None = None,
    autocast: torch.dtype | None = None,
) -> NDArray[np.float32]:
    """Return what a method wants to know about the patches of some images.

    Args:
        backbone: In eval mode, on the device of the images.
        x_BCHW: Normalised; sides as `lattice` says.
        feature_kind: What the method asks for.
        query: For attention: (x, y) of the patch that asks, as shares of width and height. None for the class token, or
            for the average over all patches where a model has none.
        autocast: Type to compute in, or None for that of the weights.

    Returns:
        (B, h, w, D), float32.

    Raises:
        UsageError: The model has no such thing.
    """
    with torch.autocast(x_BCHW.device.type, dtype=autocast, enabled=autocast is not None):
        if feature_kind == FeatureKind.ATTENTION:
            values_BDhw = _attention(backbone, x_BCHW, query)
        elif feature_kind == FeatureKind.PATCHES:
            values_BDhw = patch_features(backbone, x_BCHW)
        elif feature_kind == FeatureKind.COARSE:
            values_BDhw = coarse_features(backbone, x_BCHW)
        elif backbone.is_vit:
            values_BDhw = attend(backbone, x_BCHW).patch_keys()
        else:
            values_BDhw = place_features(backbone, x_BCHW)
    values: NDArray[np.float32] = values_BDhw.float().permute(0, 2, 3, 1).cpu().contiguous().numpy()
    return values


@torch.inference_mode()
def deep_grid(backbone: Backbone, x_BCHW: Tensor, autocast: torch.dtype | None = None) -> NDArray[np.float32] | None:
    """Return `object_features` of one image, (h / 2, w / 2, D) beside the grid of its keys; None without such a map."""
    with torch.autocast(x_BCHW.device.type, dtype=autocast, enabled=autocast is not None):
        found_BDhw = object_features(backbone, x_BCHW)
    if found_BDhw is None:
        return None
    deep_hwD: NDArray[np.float32] = found_BDhw[0].float().permute(1, 2, 0).cpu().contiguous().numpy()
    return deep_hwD


def _attention(backbone: Backbone, x_BCHW: Tensor, query: tuple[float, float] | None) -> Tensor:
    seen = attend(backbone, x_BCHW)
    if query is not None:
        column, row = (min(int(share * cells), cells - 1) for share, cells in zip(query, seen.grid[::-1], strict=True))
        return seen.to_patches(seen.patch_token(row, column))
    if backbone.has_cls:
        return seen.to_patches()
    patches = range(seen.prefix, seen.prefix + seen.grid[0] * seen.grid[1])
    mean_BnN = seen.weights(patches).mean(dim=2)
    return mean_BnN[..., seen.prefix :].reshape(*mean_BnN.shape[:2], *seen.grid)
