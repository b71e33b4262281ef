"""Where the crops of a run look: rarity maps of the start, one for each image of the folder.

The maps are those of `embed --tokens rare`, of the weights that the run began with: a memory bank of each of two patch
maps, from a sample of the folder. They are computed once a run, and again when it is resumed: the start is the same.

Legend: B images, H W pixels, h w cells of a grid, g cells of a side, M images of the folder.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.focus import Focus
from dinocli.augment.resample import normalise, resize_square
from dinocli.config.preprocess import Preprocess
from dinocli.data.loader import Loader
from dinocli.data.region_of_interest import region_mask
from dinocli.models.backbone import Backbone
from dinocli.models.features import evaluating
from dinocli.models.rarity_maps import MAPS, rarity_maps
from dinocli.progress import ProgressReporter
from dinocli.quality.rarity import BankBuilder, MemoryBank

SAMPLE, BATCH = 512, 32
"""Images that the banks are of, at most, and images at once."""

CELLS = 16
"""Of a side of the map of a region."""


def find_focus(
    backbone: Backbone, loader: Loader, share: float, preprocess: Preprocess, reporter: ProgressReporter
) -> Focus | None:
    """Say where crops look.

    Args:
        backbone: The start.
        loader: Gives the images.
        share: `views.focus`: of the crops that are centred by a rarity map.
        preprocess: Size and normalisation of evaluation, and the region of interest: crops are centred inside a mask.
        reporter: Is told how far it is.

    Returns:
        None where crops look anywhere.
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
    """Map how much each place of each image departs from the folder, (M, g, g); 0 for images that are read in parts."""
    count = len(loader.store)
    sample = np.sort(np.random.default_rng((loader.seed, count, 4)).permutation(count)[:SAMPLE]).tolist()
    reporter.stage("looking for rare places", len(sample) + count)

    def maps(images: Sequence[int]) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for batch in loader.batches(images, BATCH):
            square_BCSS = resize_square(batch.pixels_BCHW, batch.sizes_B2, preprocess.size)
            _, found = rarity_maps(backbone, normalise(square_BCSS, preprocess.mean, preprocess.std), inside_HW)
            yield found, torch.tensor(batch.rows)
            reporter.advance(len(batch.rows))

    with evaluating(backbone), torch.inference_mode():
        builders = {name: BankBuilder() for name in MAPS}
        for found, image_B in maps(sample):
            for name, builder in builders.items():
                builder.add(found[name], image_B)
        banks = {name: builder.finish().to(loader.device) for name, builder in builders.items()}
        rows = {
            row: map_gg
            for found, image_B in maps(range(count))
            for row, map_gg in zip(image_B.tolist(), _bytes(_weights(banks, found, image_B)), strict=True)
        }
    blank_gg = np.zeros_like(next(iter(rows.values())))
    return np.stack([blank_gg if _cut(loader, image) else rows.get(image, blank_gg) for image in range(count)])


def _weights(banks: Mapping[str, MemoryBank], maps: Mapping[str, Tensor], image_B: Tensor) -> Tensor:
    """Add up the weights that both maps give to each cell of the fine one, (B, g, g)."""
    fine_Bgg, coarse_Bhw = (banks[name].weights(banks[name].rarity(maps[name], image_B)) for name in MAPS)
    coarse_Bgg = F.interpolate(coarse_Bhw[:, None], fine_Bgg.shape[1:], mode="nearest")[:, 0]
    return fine_Bgg + coarse_Bgg / coarse_Bgg.sum((1, 2), keepdim=True)


def _cut(loader: Loader, image: int) -> bool:
    """Whether an image is cut into windows, of which a map of the whole does not hold."""
    return loader.store.windows(image) > 1


def _bytes(weight_Bgg: Tensor) -> NDArray[np.uint8]:
    """Scale maps to 0 to 255, the largest value of each one."""
    return np.asarray((255 * weight_Bgg / weight_Bgg.amax((1, 2), keepdim=True)).round().byte().cpu().numpy())
