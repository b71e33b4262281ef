"""Rarity-weighted features: fitted to a sample of a folder, then a function of a single image.

The feature is the concatenation of the rarity-weighted mean of the patches of each feature map (weights from the memory
bank of the folder) and, for `pooled+rare`, the pooled feature, whitened; then the anomaly scores of the image
(`rare_parts`). The weight of the rare part depends on the similarity of the images, without labels: in a folder of one
product or tissue the class depends on unusual patches; in photographs of many things rarity is unrelated to the class.
`RareFeatures` contains the fitted state, so that a later image gets the feature that it would have had in the folder.

Legend: B images, H W pixels, D width of a map, h w rows and columns of a grid, P width of the feature, S images of the
fit, F maps.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dinocli.engine.rare_parts import joined_parts, rare_share, with_scores
from dinocli.errors import WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.features import Extractor
from dinocli.models.rarity_maps import MAPS, check_rarity_maps, rarity_maps
from dinocli.models.token_kinds import FITTED, POOLED_RARE
from dinocli.quality.cosine import mean_cosine
from dinocli.quality.energy_whitening import EnergyWhitening
from dinocli.quality.rarity import NOT_IN_BANK, BankBuilder, MemoryBank
from dinocli.quality.rarity_file import load_banks, save_banks
from dinocli.stored import reading
from dinocli.stored_arrays import checked_array

SAMPLE = 512
"""Maximum number of images of the fit."""

MIN_RARE_IMAGES = 64
"""Minimum number of images for rare patches: with 64 images the nearest neighbours improved on every measured set, with
32 images they got worse on some."""

MAX_MAP_BYTES, MAX_LARGE_MAP_BYTES = 1 << 28, 1 << 30
"""Maximum memory of stored feature maps during the fit; the second one if the first holds fewer than `MIN_STORED`
images."""

MIN_STORED = 256
"""Images whose feature maps are stored also if these are large: whitening is fitted to them."""


def max_stored(maps: Mapping[str, Tensor]) -> int:
    """Return the number of images whose feature maps may be stored during a fit, at least 2.

    Args:
        maps: Feature maps (B, D, h, w) of a batch, of any float type; float32 is stored.
    """
    image_bytes = sum(4 * map_BDhw[0].numel() for map_BDhw in maps.values())
    return max(2, MAX_MAP_BYTES // image_bytes, min(MIN_STORED, MAX_LARGE_MAP_BYTES // image_bytes))


@dataclass(frozen=True)
class RareFeatures:
    """Extractor fitted to one folder: memory banks and whitening.

    Args:
        kind: One of `dinocli.models.token_kinds.FITTED`.
        banks: Memory bank of each map, by the name of the map.
        share: Weight of the rare part in the cosine, 0 to 1; the pooled feature has the rest.
        whitening: Whitening of the concatenated parts.
        mean_F: Mean anomaly score of the images of the fit by each map; of width 0 if the feature has no scores.
        images: Number of each image whose patches may be in a bank, by name.
        inside_HW: Region of interest of every image, bool, of any size; None for all pixels. Not saved here, but with
            the preprocessing.
    """

    kind: str
    banks: Mapping[str, MemoryBank]
    share: float
    whitening: EnergyWhitening
    mean_F: Tensor
    images: Mapping[str, int]
    inside_HW: Tensor | None = None

    def compute(self, backbone: Backbone, x_BCHW: Tensor, image_B: Tensor | None = None) -> Tensor:
        """Compute the features.

        Args:
            backbone: In eval mode, with the weights of the fit.
            x_BCHW: Normalised images.
            image_B: Number of each image, from `numbers`; None if none of their patches is in the banks.

        Returns:
            (B, P) of length 1.
        """
        pooled_BD, maps = rarity_maps(backbone, x_BCHW, self.inside_HW)
        with torch.autocast(x_BCHW.device.type, enabled=False):  # half precision would lose small distances
            return self.of_maps(pooled_BD.float(), {name: map_BDhw.float() for name, map_BDhw in maps.items()}, image_B)

    def of_maps(self, pooled_BD: Tensor, maps: Mapping[str, Tensor], image_B: Tensor | None = None) -> Tensor:
        """Compute the features from the results of `rarity_maps`."""
        if self.whitening.axes_SP.device != pooled_BD.device:
            return self.to(pooled_BD.device).of_maps(pooled_BD, maps, image_B)
        joined_BP, scores_BF = joined_parts(self.banks, self.share, pooled_BD, maps, image_B)
        return with_scores(self.whitening.whiten(joined_BP), scores_BF, self.mean_F, self.share)

    @property
    def width(self) -> int:
        """Width of the feature, P."""
        return self.whitening.axes_SP.shape[1] + len(self.mean_F)

    def pooled_part(self, rows_BP: Tensor) -> Tensor:
        """Recover the pooled features from rows by inverse whitening, L2-normalised, (B, D); D = 0 for `rare`."""
        whitened = self.whitening.axes_SP.shape[1]
        width = whitened - sum(len(bank.mean_D) for bank in self.banks.values())
        return F.normalize(self.whitening.undo(rows_BP[:, :whitened].float())[:, :width], dim=1)

    def without_region(self) -> "RareFeatures":
        """Return the same extractor without a region of interest, for parts of images."""
        return replace(self, inside_HW=None)

    def numbers(self, names: Sequence[str]) -> Tensor:
        """Return the number of each image by its name, (N,)."""
        return torch.tensor([self.images.get(name, NOT_IN_BANK) for name in names])

    def to(self, device: torch.device) -> "RareFeatures":
        """Return a copy on a device."""
        banks = {name: bank.to(device) for name, bank in self.banks.items()}
        return replace(self, banks=banks, whitening=self.whitening.to(device), mean_F=self.mean_F.to(device))

    def digest(self) -> str:
        """Return a hash of the fitted state, 16 hexadecimal digits."""
        digest = hashlib.sha256(self.kind.encode())
        for tensor in (self.whitening.axes_SP, *(self.banks[name].patches_MD for name in MAPS), self.mean_F):
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the fitted state to a safetensors file."""
        metadata = {"kind": self.kind, "share": repr(self.share), "images": json.dumps(dict(self.images))}
        save_banks(path, self.banks, others={**vars(self.whitening), "mean_F": self.mean_F}, metadata=metadata)

    @classmethod
    def load(cls, path: Path) -> "RareFeatures":
        """Read a file of `save`.

        Raises:
            WeightsError: The file is missing or of another kind.
        """
        banks, others, metadata = load_banks(path)
        with reading(path, "embed again", "read as the state of a feature with rare patches"):
            images = {str(name): int(number) for name, number in json.loads(metadata["images"]).items()}
            mean_F = others.pop("mean_F", torch.empty(0))  # version 0.2.0 had no scores
            kind, whitening = metadata["kind"], EnergyWhitening(**others)
            directions, width = checked_array(whitening.axes_SP.numpy(), np.float32, (None, None)).shape
            scale_S = checked_array(whitening.scale_S.numpy(), np.float32, (directions,))
            checked_array(mean_F.numpy(), np.float32, (len(mean_F) and len(MAPS),))
            rare = sum(len(banks[name].mean_D) for name in MAPS)
            fits = width > rare if kind == POOLED_RARE else width == rare and kind in FITTED
            if not fits or not (scale_S > 0).all():
                raise ValueError(f"a whitening of {width} values for {kind} and {rare} values of rare patches")
            return cls(kind, banks, float(metadata["share"]), whitening, mean_F, images)


def named_from(tokens: Extractor, fitted_root: str, root: Path) -> Extractor:
    """Name the images of a fit relative to another folder, so that an image elsewhere is not taken for its namesake.

    Args:
        tokens: Extractor; others than `RareFeatures` are returned unchanged.
        fitted_root: Folder of the fit. If it is unknown or gone, its images may have moved, and the names stay.
        root: Folder of the images to embed.
    """
    if not isinstance(tokens, RareFeatures) or not fitted_root or not os.path.isdir(fitted_root):
        return tokens
    old, new = os.path.realpath(fitted_root), os.path.realpath(root)
    renamed = {os.path.relpath(os.path.join(old, name), new): number for name, number in tokens.images.items()}
    return replace(tokens, images={f"./{name}": number for name, number in renamed.items()})


class RareFit:
    """Fits `RareFeatures` to a sample of a folder; stores the feature maps of up to `max_stored` images.

    Args:
        kind: One of `dinocli.models.token_kinds.FITTED`.
        similarity_change: That of the weights (`WeightsInfo`). Adaptation removes features that all images of a
            folder have; the share of the rare part is that of the weights before it.
    """

    def __init__(self, kind: str, similarity_change: float = 0.0) -> None:
        self.kind, self.similarity_change = kind, similarity_change
        self._builders = {name: BankBuilder() for name in MAPS}
        self._stored: list[tuple[Tensor, dict[str, Tensor], Tensor]] = []
        self._images: dict[str, int] = {}
        self._grids = self._rows_stored = 0

    def add(self, pooled_BD: Tensor, maps: Mapping[str, Tensor], names: list[str]) -> None:
        """Add the results of `rarity_maps` for a batch of images or tiles, with the name of the image of each."""
        image_B = torch.tensor([self._images.setdefault(name, len(self._images)) for name in names])
        draw_B = torch.arange(self._grids, self._grids + len(names))
        self._grids += len(names)
        for name, builder in self._builders.items():
            builder.add(maps[name], image_B, draw_B)
        count = min(len(names), max_stored(maps) - self._rows_stored)
        if count > 0:
            kept = {name: map_BDhw[:count].float().cpu() for name, map_BDhw in maps.items()}
            self._stored.append((pooled_BD[:count].float().cpu(), kept, image_B[:count]))
            self._rows_stored += count

    def finish(self) -> tuple[RareFeatures, NDArray[np.float32]]:
        """Return the fitted extractor, and the features of the first S images or tiles, (S, P), in order.

        Raises:
            DataError: Fewer than two images were added.
        """
        banks = {name: builder.finish() for name, builder in self._builders.items()}
        share = 1.0
        if self.kind == "pooled+rare":
            pooled_SD = torch.cat([pooled_BD for pooled_BD, _, _ in self._stored])
            share = rare_share(min(1.0, max(0.0, mean_cosine(pooled_SD.numpy()) - self.similarity_change)))
        parts = [joined_parts(banks, share, *kept) for kept in self._stored]
        joined_SP, scores_SF = (torch.cat(column) for column in zip(*parts, strict=True))
        mean_F = scores_SF[joined_SP.isfinite().all(dim=1)].mean(dim=0)
        features = RareFeatures(self.kind, banks, share, EnergyWhitening.fit(joined_SP), mean_F, self._images)
        return features, with_scores(features.whitening.whiten(joined_SP), scores_SF, mean_F, share).numpy()


def why_not_rare(backbone: Backbone) -> str:
    """Return why `pooled+rare` is not the default feature of a backbone; empty if it is, with enough images."""
    if backbone.architecture == "hierarchical":
        return "rare patches were not measured for hierarchical transformers"
    try:
        check_rarity_maps(backbone)
    except WeightsError:
        return f"{backbone.name} has no maps of two strides"
    return ""


def width_of(kind: str, pooled_BD: Tensor, maps: Mapping[str, Tensor]) -> int:
    """Return the width P of the feature."""
    pooled = pooled_BD.shape[1] if kind == "pooled+rare" else 0
    return pooled + sum(maps[name].shape[1] for name in MAPS) + len(MAPS)
