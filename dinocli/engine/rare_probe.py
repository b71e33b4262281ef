"""Features of a probe with rare patches: `pooled+rare`, fitted to the images of the probe with the measured weights.

Legend: B images, C channels, H W pixels, D width of the pooled feature, P width of `pooled+rare`, N probe images.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from dinocli.engine.rare_features import RareFeatures, RareFit
from dinocli.errors import DataError
from dinocli.models.backbone import Backbone
from dinocli.models.features import eval_mode
from dinocli.models.rarity_maps import rarity_maps
from dinocli.models.token_kinds import POOLED_RARE
from dinocli.quality.cosine import mean_cosine
from dinocli.quality.probe_result import Features


class PooledAndRare:
    """Extractor of the pooled feature and of `pooled+rare`, joined, from one pass.

    Args:
        rare: The fitted `pooled+rare`.
    """

    def __init__(self, rare: RareFeatures) -> None:
        self.rare = rare

    def compute(self, backbone: Backbone, x_BCHW: Tensor, image_B: Tensor | None = None) -> Tensor:
        """Compute (B, D + P); see `RareFeatures.compute`."""
        pooled_BD, maps = rarity_maps(backbone, x_BCHW)
        return torch.cat([pooled_BD, self.rare.of_maps(pooled_BD, maps, image_B)], dim=1)

    def numbers(self, names: Sequence[str]) -> Tensor:
        """Return the number of each image by its name, (N,)."""
        return self.rare.numbers(names)

    def without_region(self) -> "PooledAndRare":
        """Return the same extractor: a probe measures whole images."""
        return self


def fit_to_probe(
    backbone: Backbone,
    batches: Iterable[tuple[Tensor, list[int]]],
    start_ND: Features | None,
    advance: Callable[[int], None],
) -> PooledAndRare | None:
    """Fit `pooled+rare` to the images of a probe.

    Args:
        backbone: On the device of the batches.
        batches: Normalised images, and their numbers.
        start_ND: Pooled features of the start weights, from whose similarity the share of the rare part comes, so that
            it is the same for all weights of a run; None if these are the start weights.
        advance: Receives the number of processed images.

    Returns:
        None if the features are not finite.
    """
    fit, pooled = RareFit(POOLED_RARE), list[Tensor]()
    with eval_mode(backbone), torch.inference_mode():
        for x_BCHW, rows in batches:
            pooled_BD, maps = rarity_maps(backbone, x_BCHW)
            fit.add(pooled_BD, maps, list(map(str, rows)))
            pooled.append(pooled_BD.float().cpu())
            advance(len(rows))
    pooled_ND = torch.cat(pooled)
    if not pooled_ND.isfinite().all():
        return None
    if start_ND is not None:
        fit.similarity_change = mean_cosine(pooled_ND.numpy()) - mean_cosine(start_ND)
    try:
        rare, _ = fit.finish()
    except DataError:  # the maps are not finite
        return None
    return PooledAndRare(rare.to(pooled_BD.device))
