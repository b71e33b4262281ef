"""Feature extraction for `segment`: images to one feature grid each, whole or from blended tiles.

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
from dinocli.data.canvas import Canvas, scaled
from dinocli.data.tiling import Blend, Tiling, grid_tiles
from dinocli.errors import UsageError
from dinocli.models.attention import attend
from dinocli.models.backbone import Backbone
from dinocli.models.patches import COARSE, DEEP, FINE, coarse_features, object_features, patch_features, place_features
from dinocli.segmentation.method import FeatureGrid, FeatureKind
from dinocli.segmentation.patch_geometry import Size, canvas_size
from dinocli.segmentation.segment_images import GridLayout, SegmentImage, SegmentReader

TILE_BATCH_SIZE = 8

COARSE_REDUCTION = 3
"""Factor by which images are downscaled for coarse features; large, faint defects of magnetic tiles were detected at
160 px and not at 480 px."""

MIN_COARSE_SIDE = 96
"""Minimum shorter side of the downscaled image, pixels: six cells."""

_FEATURES = {FeatureKind.COARSE: "coarse", FeatureKind.PATCHES_AND_COARSE: "both"}  # --features

_WITHIN_IMAGE = (FeatureKind.KEYS, FeatureKind.ATTENTION)
"""Kinds by which patches of one image are compared, so that those of a blank image have to be equal."""


@dataclass(frozen=True)
class FeatureExtraction:
    """Computes the feature grids of images with a backbone.

    Args:
        backbone: Backbone in eval mode, on `device`.
        preprocess: Preprocessing of the images.
        feature_kind: Kind of the features.
        device: Device of the backbone.
        size: Shorter side of the canvas, pixels; 0 keeps the scale of each image.
        tiling: Tile size and overlap; None for whole images.
        query: See `feature_grids`.
        autocast: Autocast dtype, or None.

    Raises:
        UsageError: Coarse features of a ViT, of tiles or of images smaller than `COARSE_REDUCTION * MIN_COARSE_SIDE`.
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
        if self.feature_kind in _FEATURES and not self.has_coarse:
            least, name = COARSE_REDUCTION * MIN_COARSE_SIDE, _FEATURES[self.feature_kind]
            raise UsageError(f"--features {name} needs a convnet, --size {least} or more and no --tile: leave it out")

    @property
    def has_coarse(self) -> bool:
        """Whether coarse features can be computed: only by convnets, of whole images, large enough for a grid."""
        large = self.size >= COARSE_REDUCTION * MIN_COARSE_SIDE
        return large and not self.backbone.is_vit and not self.tiling

    @property
    def reader(self) -> SegmentReader:
        """Reader of images with canvases that fit the backbone and the kind of features."""
        layout = grid_layout(self.backbone, self.feature_kind)
        return SegmentReader(self.preprocess, self.size, layout, tiled=self.tiling is not None)

    def grid(self, picture: SegmentImage) -> FeatureGrid:
        """Return the features of one image."""
        if self.feature_kind == FeatureKind.COARSE:
            return self._coarse(picture)
        tiling = self.tiling
        values_hwD = self._blended(picture, tiling) if tiling else self._features([picture.canvas_CHW])[0]
        blank = self.feature_kind in _WITHIN_IMAGE and not np.ptp(picture.canvas_CHW, axis=(1, 2)).any()
        if blank:  # only padding and position embeddings distinguish its patches
            values_hwD = np.broadcast_to(values_hwD.mean(axis=(0, 1)), values_hwD.shape)
        has_deep = self.feature_kind == FeatureKind.KEYS and not self.backbone.is_vit and not blank
        deep = partial(self._deep, picture.canvas_CHW) if has_deep else None
        coarse = self._coarse(picture) if self.feature_kind == FeatureKind.PATCHES_AND_COARSE else None
        return FeatureGrid(values_hwD, picture.image, picture.inside_hw, deep, coarse=coarse)

    def _coarse(self, picture: SegmentImage) -> FeatureGrid:
        """Return the coarse features of an image, downscaled by `COARSE_REDUCTION`."""
        size = coarse_size(picture.geometry.canvas)
        (values_hwD,) = self._features([scaled(picture.canvas_CHW, size)], FeatureKind.COARSE)
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
        while batch := list(islice(cut, TILE_BATCH_SIZE)):
            corners = [(part.row * step, part.column * step) for part in batch]
            tiles = [picture.canvas_CHW[:, y : y + pixels[0], x : x + pixels[1]] for y, x in corners]
            for part, values_hwD in zip(batch, self._features(tiles), strict=True):
                blend.add(part, values_hwD)
        return blend.result()

    def _features(self, canvases: Sequence[Canvas], kind: FeatureKind | None = None) -> NDArray[np.float32]:
        x_BCHW = normalise(self._pixels(canvases), self.preprocess.mean, self.preprocess.std)
        kind = kind or self.feature_kind
        return feature_grids(self.backbone, x_BCHW, kind, query=self.query, autocast=self.autocast)

    def _pixels(self, canvases: Sequence[Canvas]) -> Tensor:
        """Stack canvases of one size into a (B, C, H, W) float tensor in [0, 1] on the device."""
        stacked = np.stack(canvases)
        white = float(np.iinfo(stacked.dtype).max)
        return torch.from_numpy(stacked).to(self.device).float() / white


def check_tiling(name: str, tiling: Tiling | None, *, whole_image_only: bool) -> None:
    """Raise `UsageError` if images are tiled for a method that needs whole images."""
    if tiling and whole_image_only:
        raise UsageError(f"--method {name} needs the whole image, which --tile would cut: leave --tile out")


def coarse_size(canvas: Size) -> Size:
    """Return the size of a canvas downscaled by `COARSE_REDUCTION`, for coarse features."""
    return canvas_size(canvas, short_side=min(canvas) // COARSE_REDUCTION, multiple=DEEP)


def grid_layout(backbone: Backbone, feature_kind: FeatureKind) -> GridLayout:
    """Return the layout of the grids of `feature_grids`; for coarse features, that of their resampled distances."""
    if backbone.is_vit:
        return GridLayout(backbone.patch, backbone.stride, backbone.patch)
    stride = COARSE if feature_kind == FeatureKind.KEYS else FINE
    return GridLayout(stride, stride, DEEP)  # a multiple of the deepest stride, so no feature map is rounded up


@torch.inference_mode()
def feature_grids(
    backbone: Backbone,
    x_BCHW: Tensor,
    feature_kind: FeatureKind,
    *,
    query: tuple[float, float] | None = None,
    autocast: torch.dtype | None = None,
) -> NDArray[np.float32]:
    """Return the patch features of a batch of images.

    Args:
        backbone: Backbone in eval mode, on the device of the images.
        x_BCHW: Normalised images; sides are multiples of `grid_layout(...).multiple`.
        feature_kind: Kind of the features; of two grids, the fine one.
        query: For attention: (x, y) of the query patch as fractions of width and height. None for the class token, or
            the mean over all patches if the model has no class token.
        autocast: Autocast dtype; None computes in the dtype of the weights.

    Returns:
        (B, h, w, D), float32.

    Raises:
        UsageError: The model has no features of that kind.
    """
    with torch.autocast(x_BCHW.device.type, dtype=autocast, enabled=autocast is not None):
        if feature_kind == FeatureKind.ATTENTION:
            values_BDhw = _attention(backbone, x_BCHW, query)
        elif feature_kind in (FeatureKind.PATCHES, FeatureKind.PATCHES_AND_COARSE):
            values_BDhw = patch_features(backbone, x_BCHW)
        elif feature_kind == FeatureKind.COARSE:
            values_BDhw = coarse_features(backbone, x_BCHW)
        elif backbone.is_vit:
            values_BDhw = attend(backbone, x_BCHW)[0].patch_keys()
        else:
            values_BDhw = place_features(backbone, x_BCHW)
    values: NDArray[np.float32] = values_BDhw.float().permute(0, 2, 3, 1).cpu().contiguous().numpy()
    return values


@torch.inference_mode()
def deep_grid(backbone: Backbone, x_BCHW: Tensor, autocast: torch.dtype | None) -> NDArray[np.float32] | None:
    """Return the `object_features` of one image, (h / 2, w / 2, D) for keys of (h, w); None if the model has none."""
    with torch.autocast(x_BCHW.device.type, dtype=autocast, enabled=autocast is not None):
        deep_BDhw = object_features(backbone, x_BCHW)
    if deep_BDhw is None:
        return None
    deep_hwD: NDArray[np.float32] = deep_BDhw[0].float().permute(1, 2, 0).cpu().contiguous().numpy()
    return deep_hwD


def _attention(backbone: Backbone, x_BCHW: Tensor, query: tuple[float, float] | None) -> Tensor:
    last = attend(backbone, x_BCHW)[0]
    if query is not None:
        column, row = (min(int(share * cells), cells - 1) for share, cells in zip(query, last.grid[::-1], strict=True))
        return last.to_patches(last.patch_token(row, column))
    if backbone.has_cls:
        return last.to_patches()
    patches = range(last.prefix, last.prefix + last.grid[0] * last.grid[1])
    mean_BnN = last.weights(patches).mean(dim=2)
    return mean_BnN[..., last.prefix :].reshape(*mean_BnN.shape[:2], *last.grid)
