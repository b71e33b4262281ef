"""Rare features as an exportable module: the feature that an image outside the fitted folder gets.

Legend: B images, C channels, H W pixels, D width of a map, h w rows and columns of a grid, P width of the feature.
"""

from dataclasses import fields

from torch import Tensor, nn

from dinocli.engine.rare_features import RareFeatures
from dinocli.engine.rare_parts import joined, with_scores
from dinocli.models.backbone import Backbone
from dinocli.models.rarity_maps import MAPS, rarity_maps
from dinocli.quality.energy_whitening import EnergyWhitening
from dinocli.quality.rarity import ORDER, MemoryBank


class RareGraph(nn.Module):
    """Pooled feature and rare feature of images of which no patch is in the banks, in one pass.

    Args:
        backbone: On the CPU, in eval mode; shared, not copied.
        rare: Fitted to a folder; a region of interest is ignored.
    """

    def __init__(self, backbone: Backbone, rare: RareFeatures) -> None:
        super().__init__()
        self.backbone, self.share = backbone, rare.share
        for name in MAPS:
            for part, tensor in rare.banks[name].tensors().items():
                self.register_buffer(f"{name}_{part}", tensor)
        self.register_buffer("axes_SP", rare.whitening.axes_SP)
        self.register_buffer("scale_S", rare.whitening.scale_S)
        self.register_buffer("mean_F", rare.mean_F)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled feature (B, D) and the rare one (B, P).

        Args:
            images: (B, C, H, W), normalised.
        """
        pooled, maps = rarity_maps(self.backbone, images)
        banks = {name: self._bank(name) for name in MAPS}
        rarity = {name: _rarity(banks[name], maps[name]) for name in MAPS}
        joined_BP, scores_BF = joined(banks, self.share, pooled, maps, rarity)
        whitening = EnergyWhitening(self.get_buffer("axes_SP"), self.get_buffer("scale_S"))
        return pooled, with_scores(whitening.whiten(joined_BP), scores_BF, self.get_buffer("mean_F"), self.share)

    def _bank(self, name: str) -> MemoryBank:
        return MemoryBank(**{field.name: self.get_buffer(f"{name}_{field.name}") for field in fields(MemoryBank)})


def _rarity(bank: MemoryBank, map_BDhw: Tensor) -> Tensor:
    """Return the rarity map, (B, h, w), as `MemoryBank.rarity`, without its exclusion of own patches and its blocks."""
    cosine_BPM = bank.units(map_BDhw) @ bank.patches_MD.T
    nearest_BP = cosine_BPM.topk(min(ORDER, len(bank.patches_MD)), dim=2).values[:, :, -1]
    return (1 - nearest_BP).clamp(0.0, 2.0).reshape(-1, *map_BDhw.shape[2:])
