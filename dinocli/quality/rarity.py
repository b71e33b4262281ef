"""Rarity: distance of a patch to the patches of the other images of a folder.

Where the class of an image is a small detail (a crack, a stain), average pooling hides it. A memory bank holds random
patches of the folder; the rarity of a patch is its nearest-neighbour distance to the bank, and a softmax of the
rarities gives the weights of a pooling that emphasises unusual patches.

Usage::

    builder = BankBuilder()
    for maps_BDhw, image_B in stream:            # any batches, in any order
        builder.add(maps_BDhw, image_B)
    bank = builder.finish()                      # MemoryBank
    rarity_Bhw = bank.rarity(maps_BDhw, image_B) # 1 - cosine; image number NOT_IN_BANK for images outside the bank
    rare_BD = bank.pool(maps_BDhw, rarity_Bhw)   # mean of the raw patches, weighted by `bank.weights(rarity_Bhw)`
    save_banks(path, {"coarse": bank})           # and load_banks, in dinocli.quality.rarity_file

Sources: memory bank of patches: Roth et al. 2022 (PatchCore, arXiv:2106.08265); distance to patches of the other images
of an unlabelled folder: Li et al. 2024 (MuSc, arXiv:2401.16753); pooling weighted by a softmax of that distance: Sohn
et al. 2021 (Anomaly Clustering, arXiv:2112.11573). Departs: channels are standardised over the folder, patches are
compared by cosine, and the temperature is in standard deviations of the rarity, so that one value fits every network.

Legend: B images, D width, h w rows and columns of the grid, P = h w patches, M bank patches, R images of a block,
k neighbours.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dinocli.errors import DataError

BANK_SIZE = 2048
"""Maximum number of patches of a bank."""

ORDER = 3
"""Rank of the neighbour whose distance is the rarity: the third nearest is less noisy than the nearest."""

TEMPERATURE = 0.7
"""Softmax temperature in standard deviations of the rarity over the folder."""

NOT_IN_BANK = -1
"""Number of an image of which the bank holds no patch."""

_BLOCK_VALUES = 1 << 24  # cosines in memory at a time: 64 MiB in float32
_MIN_STD_SHARE = 1e-6  # of the largest standard deviation: a channel below it is constant up to rounding


@dataclass(frozen=True)
class MemoryBank:
    """Random patches of a folder, with the statistics that standardise patches.

    Args:
        mean_D: Mean of each channel over the folder.
        std_D: Standard deviation of each channel over the folder; 1 for a constant channel.
        patches_MD: Standardised, L2-normalised patches, float32.
        image_M: Image number of each patch, int64, sorted; on the CPU.
        spread: Standard deviation of the rarity of the bank patches, scalar.
    """

    mean_D: Tensor
    std_D: Tensor
    patches_MD: Tensor
    image_M: Tensor
    spread: Tensor

    def units(self, maps_BDhw: Tensor) -> Tensor:
        """Return standardised, L2-normalised patches, (B, P, D), in row-major order of the grid."""
        raw_BPD = maps_BDhw.flatten(2).transpose(1, 2).to(self.mean_D.dtype)
        return F.normalize((raw_BPD - self.mean_D) / self.std_D, dim=-1)

    def rarity(self, maps_BDhw: Tensor, image_B: Tensor | None = None, order: int = ORDER) -> Tensor:
        """Return the rarity map.

        Args:
            maps_BDhw: Raw patch features, on the device of the bank.
            image_B: Number of each image, on the CPU; bank patches of the same image are excluded. None if no image is
                in the bank.
            order: Rank of the neighbour whose distance is returned.

        Returns:
            1 - cosine, 0 to 2, float32 (B, h, w).
        """
        batch, _, rows, columns = maps_BDhw.shape
        if image_B is None:
            image_B = torch.full((batch,), NOT_IN_BANK)
        rarity_BP = nearest_distance(self.units(maps_BDhw), image_B, self.patches_MD, self.image_M, order)
        return rarity_BP.view(batch, rows, columns)

    def weights(self, rarity_Bhw: Tensor, temperature: float = TEMPERATURE) -> Tensor:
        """Return softmax weights of a rarity map, (B, h, w), which sum to 1 per image; NaN patches get 0."""
        logits_BP = (rarity_Bhw.flatten(1) / (temperature * self.spread)).nan_to_num(nan=-torch.inf)
        return logits_BP.softmax(dim=1).view_as(rarity_Bhw)

    def pool(self, maps_BDhw: Tensor, rarity_Bhw: Tensor) -> Tensor:
        """Pool the raw patches with the weights of their rarity map, (B, D).

        NaN patches (outside the region of interest) are ignored; an image of only NaN patches gives NaN.
        """
        weight_Bhw = self.weights(rarity_Bhw)
        return torch.einsum("bdhw,bhw->bd", maps_BDhw.to(weight_Bhw.dtype).nan_to_num(nan=0.0), weight_Bhw)

    def to(self, device: torch.device) -> "MemoryBank":
        """Return a copy of the bank on a device; the image numbers stay on the CPU, where they are read."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return MemoryBank(**moved | {"image_M": self.image_M})

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors of the bank by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class BankBuilder:
    """Uniform sample of patches from a stream of patch maps, in constant memory.

    Every patch gets a random key from (seed, grid, position), and the patches with the smallest keys are kept. So the
    sample does not depend on the batches and their order.

    Args:
        size: Number of patches to keep.
        seed: Seed of the keys.
    """

    def __init__(self, size: int = BANK_SIZE, seed: int = 0) -> None:
        self.size, self.seed = size, seed
        self.count = 0
        self._sums: NDArray[np.float64] | None = None
        self._key_M, self._image_M = np.empty(0), np.empty(0, np.int64)
        self._raw_MD = torch.empty(0, 0)

    def add(self, maps_BDhw: Tensor, image_B: Tensor, draw_B: Tensor | None = None) -> None:
        """Add the maps of a batch of images.

        Args:
            maps_BDhw: Raw patch features, on any device; grids may differ between batches. Non-finite patches are left
                out.
            image_B: Number of each image, 0 or more.
            draw_B: Number of each grid, if an image has several (tiles); None uses `image_B`.
        """
        raw_ND = maps_BDhw.flatten(2).transpose(1, 2).flatten(0, 1).float()
        finite_N = raw_ND.isfinite().all(dim=1)
        self._sum(raw_ND[finite_N])
        places = len(raw_ND) // len(image_B)
        draws = (image_B if draw_B is None else draw_B).tolist()
        key_N = np.concatenate([np.random.default_rng((self.seed, draw)).random(places) for draw in draws])
        image_N = np.repeat(image_B.cpu().numpy(), places)
        limit = self._key_M.max() if len(self._key_M) == self.size else 1
        low_R = np.flatnonzero((key_N < limit) & finite_N.cpu().numpy())
        drawn_RD = raw_ND[torch.from_numpy(low_R).to(raw_ND.device)].cpu()
        key_M = np.concatenate([self._key_M, key_N[low_R]])
        kept = np.lexsort((np.arange(len(key_M)), key_M))[: self.size]
        self._raw_MD = torch.cat([self._raw_MD, drawn_RD] if len(self._raw_MD) else [drawn_RD])[torch.from_numpy(kept)]
        self._key_M, self._image_M = key_M[kept], np.concatenate([self._image_M, image_N[low_R]])[kept]

    def finish(self) -> MemoryBank:
        """Return the bank.

        Raises:
            DataError: Fewer than two images were added.
        """
        if len(np.unique(self._image_M)) < 2:
            raise DataError("one image has no others to be compared with: give more images")
        assert self._sums is not None
        mean, square = self._sums / self.count
        std = np.sqrt(np.maximum(square - mean**2, 0))
        std = np.where(std > _MIN_STD_SHARE * std.max(), std, 1)
        sorted_M = np.lexsort((self._key_M, self._image_M))
        image_M = torch.from_numpy(self._image_M[sorted_M])
        mean_D, std_D = torch.from_numpy(mean).float(), torch.from_numpy(std).float()
        bank = MemoryBank(mean_D, std_D, torch.empty(0), image_M, torch.ones(()))
        units_MD = bank.units(self._raw_MD[torch.from_numpy(sorted_M)].T[None, :, None])[0]
        far_M1 = nearest_distance(units_MD[:, None], image_M, units_MD, image_M)
        spread = far_M1.double().std(correction=0).clamp_min(1e-6).float()
        return replace(bank, patches_MD=units_MD, spread=spread)

    def _sum(self, raw_ND: Tensor) -> None:
        """Add patches to the sums of values and squares."""
        wide_ND = raw_ND.double()
        sums = torch.stack([wide_ND.sum(0), wide_ND.square().sum(0)]).cpu().numpy()
        self._sums = sums if self._sums is None else self._sums + sums
        self.count += len(raw_ND)


def largest_rarity(rarity_Bhw: Tensor) -> Tensor:
    """Return the largest rarity of each image, (B,), the anomaly score of PatchCore; NaN patches are ignored."""
    return rarity_Bhw.flatten(1).nan_to_num(nan=-torch.inf).amax(dim=1)


def nearest_distance(
    units_BPD: Tensor, image_B: Tensor, bank_MD: Tensor, image_M: Tensor, order: int = ORDER
) -> Tensor:
    """Return the distance of each patch to its `order`-th nearest bank patch of another image.

    Args:
        units_BPD: L2-normalised patches.
        image_B: Number of each image, on the CPU.
        bank_MD: L2-normalised bank patches.
        image_M: Image number of each bank patch, sorted, on the CPU.
        order: Rank; 1 is the nearest. If the other images have fewer patches, the farthest of those.

    Returns:
        1 - cosine, (B, P), 0 to 2; 2 also if the bank has no patch of another image.
    """
    order, found = min(order, len(bank_MD)), []
    own_first = torch.searchsorted(image_M, image_B).tolist()
    own_end = torch.searchsorted(image_M, image_B, right=True).tolist()
    step = max(1, _BLOCK_VALUES // (units_BPD.shape[1] * len(bank_MD)))
    for start in range(0, len(units_BPD), step):
        cosine_RPM = units_BPD[start : start + step] @ bank_MD.T
        for row, cosine_PM in enumerate(cosine_RPM, start):
            cosine_PM[:, own_first[row] : own_end[row]] = -torch.inf
        nearest_RPk = cosine_RPM.topk(order, dim=2).values
        # Excluded patches are -inf: with fewer than `order` others, the farthest finite one counts.
        counted_RP = (nearest_RPk > -torch.inf).sum(dim=2, keepdim=True)
        found.append(nearest_RPk.gather(2, (counted_RP - 1).clamp_min(0))[:, :, 0])
    return (1 - torch.cat(found)).clamp(0, 2)
