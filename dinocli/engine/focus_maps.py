"""Maps for the sampling of crop centres: rarity by the start weights, one map for each image of the folder.

Rarity is that of `embed --tokens rare`: two feature maps, with a memory bank each from a sample of the folder. The maps
are computed once per run, and again after a resume, with the same start weights.

Legend: B images, H W pixels, h w cells of a grid, g cells of a side, M images of the folder.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.focus import Focus
from dinocli.config.preprocess import Preprocess
from dinocli.data.loader import Loader
from dinocli.data.region_of_interest import region_mask
from dinocli.engine.square_resize import square_batches
from dinocli.models.backbone import Backbone
from dinocli.models.features import eval_mode
from dinocli.models.rarity_maps import MAPS, rarity_maps
from dinocli.progress import ProgressReporter
from dinocli.quality.rarity import BankBuilder, MemoryBank

SAMPLE, BATCH = 512, 32
"""Maximum number of images for the memory banks, and batch size."""

CELLS = 16
"""Cells per side of the map of a region of interest."""


def build_focus(
    backbone: Backbone, loader: Loader, share: float, preprocess: Preprocess, reporter: ProgressReporter
) -> Focus | None:
    """Build the sampler of crop centres of a run.

    Args:
        backbone: Backbone with the start weights.
        loader: Source of the images.
        share: `views.focus`: share of the crops that are centred by a rarity map.
        preprocess: Size and normalisation of evaluation, and the region of interest, inside which crops are centred.
        reporter: Receives the progress.

    Returns:
        None for uniform crops.
    """
    inside_hw = region_mask(preprocess.roi)
    inside_HW = None if inside_hw is None or _cut(loader, 0) else torch.from_numpy(inside_hw)
    region_gg = None if inside_HW is None else _bytes(F.adaptive_avg_pool2d(inside_HW[None, None].float(), CELLS)[0])[0]
    if share:
        return Focus(share, _rarity(backbone, loader, preprocess, inside_HW, reporter), region_gg)
    return None if region_gg is None else Focus(1.0, region_gg[None])


def _rarity(
    backbone: Backbone, loader: Loader, preprocess: Preprocess, inside_HW: Tensor | None, reporter: ProgressReporter
) -> NDArray[np.uint8]:
    """Return the rarity weights of each image, (M, g, g); 0 for images that are read as several windows."""
    count = len(loader.store)
    sample = np.sort(np.random.default_rng((loader.seed, count, 4)).permutation(count)[:SAMPLE]).tolist()
    reporter.stage("computing rarity maps", len(sample) + count)

    def maps(images: Sequence[int]) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for square_BCSS, rows in square_batches(loader, images, preprocess, BATCH):
            _, rarity = rarity_maps(backbone, square_BCSS, inside_HW)
            yield rarity, torch.tensor(rows)
            reporter.advance(len(rows))

    with eval_mode(backbone), torch.inference_mode():
        builders = {name: BankBuilder() for name in MAPS}
        for rarity, image_B in maps(sample):
            for name, builder in builders.items():
                builder.add(rarity[name], image_B)
        banks = {name: builder.finish().to(loader.device) for name, builder in builders.items()}
        rows = {
            row: map_gg
            for rarity, image_B in maps(range(count))
            for row, map_gg in zip(image_B.tolist(), _bytes(_weights(banks, rarity, image_B)), strict=True)
        }
    blank_gg = np.zeros_like(next(iter(rows.values())))
    return np.stack([blank_gg if _cut(loader, image) else rows.get(image, blank_gg) for image in range(count)])


def _weights(banks: Mapping[str, MemoryBank], maps: Mapping[str, Tensor], image_B: Tensor) -> Tensor:
    """Return the sum of the weights of both maps on the grid of the fine one, (B, g, g)."""
    fine_Bgg, coarse_Bhw = (banks[name].weights(banks[name].rarity(maps[name], image_B)) for name in MAPS)
    coarse_Bgg = F.interpolate(coarse_Bhw[:, None], fine_Bgg.shape[1:], mode="nearest")[:, 0]
    return fine_Bgg + coarse_Bgg / coarse_Bgg.sum((1, 2), keepdim=True)


def _cut(loader: Loader, image: int) -> bool:
    """Return whether an image is read as several windows, to which a map of the whole image does not apply."""
    return loader.store.windows(image) > 1


def _bytes(weight_Bgg: Tensor) -> NDArray[np.uint8]:
    """Scale each map to uint8, with a maximum of 255."""
    return np.asarray((255 * weight_Bgg / weight_Bgg.amax((1, 2), keepdim=True)).round().byte().cpu().numpy())
