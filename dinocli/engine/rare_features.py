"""Rarity-weighted features: fitted to a sample of a folder, then a function of a single image.

The parts are the rarity-weighted mean of the patches of each map (weights from the folder's memory bank) and, for
`pooled+rare`, the pooled feature; each is scaled to length 1, and their concatenation is whitened. The weight of the
rare part depends on the folder, without labels: where images are alike (one product, one tissue) the class lies where
an image departs from the others; in photographs of many things rarity says nothing of the class. `RareFeatures` holds
everything that was fitted, so that an image that arrives later gets the feature it would have had in the folder.

Legend: B images, H W pixels, D width of a map, h w rows and columns of a grid, P width of the feature, S images fitted
to.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dinocli.errors import WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.rarity_maps import MAPS, rarity_maps
from dinocli.quality.energy_whitening import EnergyWhitening
from dinocli.quality.rarity import UNSEEN, BankBuilder, MemoryBank
from dinocli.quality.rarity_file import load_banks, save_banks

SAMPLE = 512
"""Images that the feature is fitted to, at most."""

SHARPNESS = 3
"""How fast the share of the rare patches rises with the likeness of the images (`rare_share`)."""

KEPT_BYTES = 1 << 28
"""Patch maps in memory while it is fitted, at most."""


@dataclass(frozen=True)
class RareFeatures:
    """The fitted state: memory banks and whitening of one folder.

    Args:
        kind: One of `dinocli.models.tokens.FITTED`.
        banks: Memory bank of each map, by the name of the map.
        share: Weight of the rare part in the cosine, 0 to 1; the pooled feature has the rest.
        whitening: Of the concatenated parts.
        images: Index of each image whose patches may be in a bank, by its name.
        inside_HW: Pixels of every image that count, bool, of any size; None: all. It is not saved: how images are read
            says it.
    """

    kind: str
    banks: Mapping[str, MemoryBank]
    share: float
    whitening: EnergyWhitening
    images: Mapping[str, int]
    inside_HW: Tensor | None = None

    def of(self, backbone: Backbone, x_BCHW: Tensor, image_B: Tensor | None = None) -> Tensor:
        """Compute the feature.

        Args:
            backbone: In eval mode; its weights are those that the banks were fitted to.
            x_BCHW: Normalised images.
            image_B: Number of each image, by `numbers`; None where no patch of them is in the banks.

        Returns:
            (B, P) of length 1.
        """
        pooled_BD, maps = rarity_maps(backbone, x_BCHW, self.inside_HW)
        with torch.autocast(x_BCHW.device.type, enabled=False):  # small distances, lost in half precision
            return self.of_maps(pooled_BD.float(), {name: map_BDhw.float() for name, map_BDhw in maps.items()}, image_B)

    def of_maps(self, pooled_BD: Tensor, maps: Mapping[str, Tensor], image_B: Tensor | None = None) -> Tensor:
        """Compute the feature from `rarity_maps`."""
        if self.whitening.axes_SP.device != pooled_BD.device:
            return self.to(pooled_BD.device).of_maps(pooled_BD, maps, image_B)
        return self.whitening.whiten(joined_parts(self.banks, self.share, pooled_BD, maps, image_B))

    def pooled_part(self, rows_BP: Tensor) -> Tensor:
        """Recover the pooled features that rows hold, (B, D) of length 1; of `rare` alone there are none, D = 0."""
        width = rows_BP.shape[1] - sum(len(bank.mean_D) for bank in self.banks.values())
        return F.normalize(self.whitening.undo(rows_BP.float())[:, :width], dim=1)

    def regardless(self) -> "RareFeatures":
        """Return the same for parts of images, of which all counts."""
        return replace(self, inside_HW=None)

    def numbers(self, names: Sequence[str]) -> Tensor:
        """Return the number of each image by its name in the folder, (N,)."""
        return torch.tensor([self.images.get(name, UNSEEN) for name in names])

    def to(self, device: torch.device) -> "RareFeatures":
        """Return the same on a device."""
        banks = {name: bank.to(device) for name, bank in self.banks.items()}
        return replace(self, banks=banks, whitening=self.whitening.to(device))

    def digest(self) -> str:
        """Return a number that tells it from another one fitted to other images."""
        digest = hashlib.sha256(self.kind.encode())
        for tensor in (self.whitening.axes_SP, *(self.banks[name].patches_MD for name in MAPS)):
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the state as one safetensors file."""
        about = {"kind": self.kind, "share": repr(self.share), "images": json.dumps(dict(self.images))}
        save_banks(path, self.banks, others=vars(self.whitening), about=about)

    @classmethod
    def load(cls, path: Path) -> "RareFeatures":
        """Read what `save` wrote.

        Raises:
            WeightsError: It is not there, or not of this kind.
        """
        banks, others, about = load_banks(path)
        try:
            images = {str(name): int(number) for name, number in json.loads(about["images"]).items()}
            return cls(about["kind"], banks, float(about["share"]), EnergyWhitening(**others), images)
        except (KeyError, ValueError, TypeError) as error:
            raise WeightsError(f"{path} is not of a feature with rare patches ({error}): embed again") from error


def joined_parts(
    banks: Mapping[str, MemoryBank],
    share: float,
    pooled_BD: Tensor,
    maps: Mapping[str, Tensor],
    image_B: Tensor | None = None,
) -> Tensor:
    """Join what stands for each image before whitening, (B, P) of length 1; a share of 1 leaves the pooled one out."""
    rare = [banks[name].pool(maps[name], image_B) for name in MAPS]
    parts = [math.sqrt(share / len(MAPS)) * F.normalize(part_BD, dim=1) for part_BD in rare]
    if share < 1:
        parts.insert(0, math.sqrt(1 - share) * F.normalize(pooled_BD, dim=1))
    return torch.cat(parts, dim=1)


def rare_share(pooled_SD: Tensor) -> float:
    """Say how much rare patches should count in a folder: the more, the more alike its images are.

    The mean cosine c between pooled features is about 0.25 for photographs of many things, 0.35 for aerial images, 0.5
    for windows of circuit boards and 0.6 to 0.8 for cells, x-rays, steel and tiles. The share rises from 0 to 1
    around c = 0.5.
    """
    units_SD = F.normalize(pooled_SD[pooled_SD.isfinite().all(dim=1)].double(), dim=1)
    alike = float(units_SD.mean(dim=0).square().sum().clamp(0, 1))
    return min(0.999, alike**SHARPNESS / (alike**SHARPNESS + (1 - alike) ** SHARPNESS))


class RareFit:
    """Fits the feature to a sample of a folder. Patch maps are kept until then, as far as there is room.

    Args:
        kind: One of `dinocli.models.tokens.FITTED`.
        seed: Of the patches in the banks.
    """

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.kind, self._builders = kind, {name: BankBuilder(seed=seed) for name in MAPS}
        self._kept: list[tuple[Tensor, dict[str, Tensor], Tensor]] = []
        self._images: dict[str, int] = {}
        self._grids, self._room = 0, KEPT_BYTES

    def add(self, pooled_BD: Tensor, maps: Mapping[str, Tensor], names: list[str]) -> None:
        """Take the `rarity_maps` of some more images, or tiles of them, and the name of the image of each."""
        image_B = torch.tensor([self._images.setdefault(name, len(self._images)) for name in names])
        draw_B = torch.arange(self._grids, self._grids + len(names))
        self._grids += len(names)
        for name, builder in self._builders.items():
            builder.add(maps[name], image_B, draw_B)
        kept = {name: map_BDhw.float().cpu() for name, map_BDhw in maps.items()}
        self._room -= sum(map_BDhw.nbytes for map_BDhw in kept.values())
        if self._room >= 0:
            self._kept.append((pooled_BD.float().cpu(), kept, image_B))

    def finish(self) -> tuple[RareFeatures, NDArray[np.float32]]:
        """Return the fitted feature, and that of the first S images or tiles, (S, P), in their order.

        Raises:
            DataError: Fewer than two images were given.
        """
        banks = {name: builder.finish() for name, builder in self._builders.items()}
        share = 1.0 if self.kind == "rare" else rare_share(torch.cat([pooled_BD for pooled_BD, _, _ in self._kept]))
        joined_SP = torch.cat([joined_parts(banks, share, *kept) for kept in self._kept])
        features = RareFeatures(self.kind, banks, share, EnergyWhitening.fit(joined_SP), self._images)
        return features, features.whitening.whiten(joined_SP).numpy()


def width_of(kind: str, pooled_BD: Tensor, maps: Mapping[str, Tensor]) -> int:
    """Return P for such maps."""
    return (pooled_BD.shape[1] if kind == "pooled+rare" else 0) + sum(maps[name].shape[1] for name in MAPS)
