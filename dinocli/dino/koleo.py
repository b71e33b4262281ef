"""KoLeo regulariser: repels nearest neighbours within a batch, so that features spread over the sphere.

Shapes: N images, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_DISTANCE = 1e-4
"""Lower clamp of distances: the logarithm would be infinite for exact copies."""


def koleo_loss(features_ND: Tensor, sources_N: Tensor) -> Tensor:
    """Return the mean of -ln(distance to the nearest neighbour), on the unit sphere, in float32.

    Args:
        features_ND: One view of each image, any float dtype.
        sources_N: Index of each row's image in the folder. An image can occur twice in a batch of a small folder; it is
            not repelled by itself.

    Returns:
        Scalar float32; 0 if no row has a neighbour.

    Source: Sablayrolles et al. 2019, arXiv:1806.03198, as in DINOv2 (Oquab et al. 2023, arXiv:2304.07193). Departs: the
    clamped distance, and rows of the same image are excluded.
    """
    unit_ND = F.normalize(features_ND.float(), dim=-1)
    with torch.no_grad():
        cosine_NN = unit_ND @ unit_ND.T
        cosine_NN = cosine_NN.masked_fill(sources_N[:, None] == sources_N, -2.0)
        best_N, nearest_N = cosine_NN.max(dim=1)
        has_one_N = best_N > -1.5
    distance_N = (unit_ND - unit_ND[nearest_N]).square().sum(dim=-1).clamp(min=MIN_DISTANCE**2).sqrt()
    loss: Tensor = torch.where(has_one_N, -distance_N.log(), 0.0).sum() / has_one_N.sum().clamp(min=1)
    return loss
