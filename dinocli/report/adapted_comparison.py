"""Start and adapted weights side by side on the same images: patches in colour, attention, groups.

Shapes: N images of the verdict, D width, n displayed images, S pixels, h w patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.resample import normalise, resize_square
from dinocli.data.canvas import rgb
from dinocli.engine.probe import Probe
from dinocli.errors import UsageError
from dinocli.models.attention import attend
from dinocli.models.backbone import Backbone
from dinocli.models.features import eval_mode
from dinocli.quality.agreement import nmi
from dinocli.quality.kmeans import nearest, unit_kmeans
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.report.page import Table
from dinocli.report.page_parts import Sheet
from dinocli.report.sheet import sheet_png

MAX_DISPLAYED_IMAGES, DISPLAY_PIXELS = 6, 160
MAX_CLUSTERS, IMAGES_PER_CLUSTER = 10, 20
COLOUR_PERCENTILES = (2, 98)
"""Percentiles of a component that become black and white."""

COLOUR_NOTE = (
    "Patches of equal colour have similar features. Red, green and blue are the first three principal components of "
    "the patches of both networks together, so that a colour means the same in all pictures. A defect that a network "
    "sees differs in colour from its surroundings."
)

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Sides:
    """Features of the same images by both networks.

    Args:
        rows: Indices of the images in the store.
        start_ND: Features of the start weights.
        adapted_ND: Features of the adapted weights.
    """

    rows: list[int]
    start_ND: NDArray[np.float32]
    adapted_ND: NDArray[np.float32]


NOTHING = Sides([], np.empty((0, 0), np.float32), np.empty((0, 0), np.float32))


def patch_sheet(sides: Sides, holdout_probe: Probe, start: Backbone, adapted: Backbone) -> Sheet:
    """Draw principal components of the patches of some images by both networks, and attention maps of ViTs.

    Args:
        sides: Features of at least two images.
        holdout_probe: Probe that holds the images.
        start: Start weights.
        adapted: Adapted weights.
    """
    chosen = [sides.rows[place] for place in shown_places(sides)]
    maps, attention = zip(*(_outputs(holdout_probe, chosen, backbone) for backbone in (start, adapted)), strict=True)
    columns = [squares(holdout_probe, chosen), *_colours(*maps)]
    titles = ["image", "start", "adapted"]
    if all(attention):
        columns += attention
        titles += ["attention, start", "attention, adapted"]
    labels = [holdout_probe.loader.store.names[row] for row in chosen]
    png = sheet_png([list(row) for row in zip(*columns, strict=True)], column_labels=titles, row_labels=labels)
    return Sheet("Patch features of the same images, as colours", png, COLOUR_NOTE)


def shown_places(sides: Sides) -> list[int]:
    """Return the indices of the displayed images, evenly spaced among those of the verdict."""
    count = min(MAX_DISPLAYED_IMAGES, len(sides.rows))
    places: list[int] = np.linspace(0, len(sides.rows) - 1, count).round().astype(int).tolist()
    return places


def group_table(sides: Sides, seed: int) -> Table:
    """Cluster both sides by k-means with two seeds each, and return the agreement of the clusterings."""
    k = max(2, min(MAX_CLUSTERS, len(sides.rows) // IMAGES_PER_CLUSTER))
    start, adapted = ([_groups(side, k, seed + run) for run in range(2)] for side in (sides.start_ND, sides.adapted_ND))
    largest = [float(np.bincount(runs[0]).max() / len(sides.rows)) for runs in (start, adapted)]
    agree = nmi(start[0], adapted[0])
    rows: list[tuple[str, float, float]] = [
        ("two runs of k-means agree (NMI)", nmi(*start), nmi(*adapted)),
        ("fraction of images in the largest group", largest[0], largest[1]),
        ("start and adapted agree (NMI)", agree, agree),
    ]
    note = (
        f"k = {k}. High agreement of two runs: the groups are stable. Low agreement of start and adapted: training "
        "changed the groups."
    )
    return Table("Groups", ("", "start", "adapted"), rows, note)


def _groups(features_ND: NDArray[np.float32], k: int, seed: int) -> NDArray[np.intp]:
    rows = NormalizedFeatures(features_ND)
    return nearest(rows.take(slice(None)), unit_kmeans(rows, k, seed=seed).centres_KD)


def squares(holdout_probe: Probe, rows: Sequence[int]) -> list[Picture]:
    """Return the images as the networks see them, resized to `DISPLAY_PIXELS`."""
    pictures: list[Picture] = []
    for batch in holdout_probe.loader.batches(rows, len(rows)):
        square_nCSS = resize_square(batch.pixels_BCHW, batch.sizes_B2, DISPLAY_PIXELS)
        pictures += map(rgb, square_nCSS.mul(255).round().byte().cpu().numpy())
    return pictures


def _input(holdout_probe: Probe, rows: Sequence[int], backbone: Backbone) -> Tensor:
    """Return the images at twice the evaluation size, for finer maps, unless the input size is fixed."""
    preprocess = holdout_probe.preprocess
    size = preprocess.size * (1 if backbone.fixed_size else 2)
    (batch,) = holdout_probe.loader.batches(rows, len(rows))
    return normalise(resize_square(batch.pixels_BCHW, batch.sizes_B2, size), preprocess.mean, preprocess.std)


def _outputs(
    holdout_probe: Probe, rows: Sequence[int], backbone: Backbone
) -> tuple[NDArray[np.float32], list[Picture]]:
    """Return the patch features (n, h, w, D) of images, and pictures of the attention, from one pass.

    Attention is that of the class token, the mean of all heads of the last block; no pictures without a class token, or
    for a model whose attention cannot be read.
    """
    attention: list[Picture] = []
    with eval_mode(backbone), torch.inference_mode():
        images = _input(holdout_probe, rows, backbone)
        try:
            if not backbone.is_vit or not getattr(backbone.model, "num_prefix_tokens", 0):
                raise UsageError("no class token")
            last, maps_nDhw = attend(backbone, images)
            attention = _grey(last.to_patches().mean(dim=1).cpu().numpy())
        except UsageError:
            maps_nDhw = backbone.patch_tokens(images)
    return maps_nDhw.float().cpu().permute(0, 2, 3, 1).numpy(), attention


def _colours(*maps: NDArray[np.float32]) -> list[list[Picture]]:
    """Return pictures of the first three principal components of all patches as red, green and blue."""
    shape = maps[0].shape[:3]
    rows = np.concatenate([map_nhwD.reshape(-1, map_nhwD.shape[-1]) for map_nhwD in maps]).astype(np.float64)
    rows -= rows.mean(axis=0)
    _, directions = np.linalg.eigh(rows.T @ rows)
    strongest = rows @ directions[:, :-4:-1]
    low, high = np.percentile(strongest, COLOUR_PERCENTILES, axis=0)
    scaled = ((strongest - low) / np.where(high > low, high - low, 1.0)).clip(0, 1)
    halves = np.split((scaled * 255).round().astype(np.uint8), len(maps))
    return [_enlarged(half.reshape(*shape, 3)) for half in halves]


def _grey(map_nhw: NDArray[np.float32]) -> list[Picture]:
    """Return pictures of maps, each scaled from its minimum to its maximum."""
    low, high = (map_nhw.min(axis=(1, 2), keepdims=True), map_nhw.max(axis=(1, 2), keepdims=True))
    grey = ((map_nhw - low) / np.where(high > low, high - low, 1.0) * 255).round().astype(np.uint8)
    return _enlarged(np.repeat(grey[..., None], 3, axis=3))


def _enlarged(maps_nhw3: Picture) -> list[Picture]:
    """Enlarge patches to squares; interpolation would suggest a higher resolution."""
    factor = max(1, DISPLAY_PIXELS // max(maps_nhw3.shape[1:3]))
    return [*maps_nhw3.repeat(factor, axis=1).repeat(factor, axis=2)]
