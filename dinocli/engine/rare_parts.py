"""Parts of the feature with rare patches: pooled feature, rarity-weighted means, and anomaly scores of the image.

The pooled feature and the rarity-weighted mean of each map are L2-normalised, weighted and concatenated; the result is
whitened. Both tell what an image shows, whatever its rarity: length 1 hides whether its rarest patch is usual or not.
So the anomaly score of the image by each map, its largest rarity, is appended. It is not scaled by its own spread: in
folders where every image has an unusual patch, the scores differ little, and so do their entries in the feature. It is
limited, so that two images of other domains, which are unlike everything, are not alike for that.

Legend: B images, D width of a map, h w rows and columns of a grid, P width of the whitened parts, F maps.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.models.rarity_maps import MAPS
from dinocli.quality.rarity import MemoryBank, largest_rarity

SHARPNESS = 3
"""Exponent of the logistic curve from the similarity of the images to the share of the rare part (`rare_share`)."""

SCORE_WEIGHT = 2.0
"""Factor of the anomaly scores beside whitened parts of length 1, times the share of the rare part."""

SCORE_LIMIT = 0.5
"""Maximum of a weighted score, absolute: three to five standard deviations on solar cells. The other parts keep two
thirds of the energy at least."""


def rare_share(similarity: float) -> float:
    """Return the weight of the rare part, which increases with the similarity of the images.

    With pretrained weights, the mean cosine c between pooled features is about 0.25 for photographs of many things,
    0.35 for aerial images, 0.5 for windows of circuit boards and 0.6 to 0.8 for cells, x-rays, steel and tiles. The
    share rises from 0 to 1 around c = 0.5.

    Args:
        similarity: c, as `mean_cosine` computes it.
    """
    alike, unlike = similarity**SHARPNESS, (1 - similarity) ** SHARPNESS
    return min(0.999, alike / (alike + unlike))


def joined_parts(
    banks: Mapping[str, MemoryBank],
    share: float,
    pooled_BD: Tensor,
    maps: Mapping[str, Tensor],
    image_B: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the weighted parts before whitening, (B, P), L2-normalised, and the anomaly scores, (B, F).

    Args:
        banks: Memory bank of each map, by the name of the map.
        share: Weight of the rare part in the cosine; 1 leaves out the pooled feature.
        pooled_BD: Pooled features.
        maps: Patch features (B, D, h, w) of each map.
        image_B: As for `MemoryBank.rarity`.
    """
    return joined(banks, share, pooled_BD, maps, {name: banks[name].rarity(maps[name], image_B) for name in MAPS})


def joined(
    banks: Mapping[str, MemoryBank],
    share: float,
    pooled_BD: Tensor,
    maps: Mapping[str, Tensor],
    rarity: Mapping[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """Return parts and scores as `joined_parts`, from known rarity maps, (B, h, w)."""
    rare = [F.normalize(banks[name].pool(maps[name], rarity[name]), dim=1) for name in MAPS]
    parts = [math.sqrt(share / len(MAPS)) * part_BD for part_BD in rare]
    if share < 1:
        parts.insert(0, math.sqrt(1 - share) * F.normalize(pooled_BD, dim=1))
    return torch.cat(parts, dim=1), torch.stack([largest_rarity(rarity[name]) for name in MAPS], dim=1)


def with_scores(whitened_BP: Tensor, scores_BF: Tensor, mean_F: Tensor, share: float) -> Tensor:
    """Append the anomaly scores to the whitened parts, (B, P + F), L2-normalised.

    Args:
        whitened_BP: Whitened parts, L2-normalised.
        scores_BF: Anomaly scores.
        mean_F: Mean anomaly scores of the folder. Of width 0 (features of version 0.2.0), nothing is appended.
        share: Weight of the rare part in the cosine.
    """
    if not len(mean_F):
        return whitened_BP
    weighted_BF = (SCORE_WEIGHT * share * (scores_BF - mean_F)).clamp(-SCORE_LIMIT, SCORE_LIMIT)
    return F.normalize(torch.cat([whitened_BP, weighted_BF], dim=1), dim=1)
