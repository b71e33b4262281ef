"""Anchor losses: distances between the outputs of the network and of the start weights for the same views.

Shapes: N views, D width, h w rows and columns of patches, P patches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def feature_distance(student_ND: Tensor, start_ND: Tensor) -> Tensor:
    """Return the mean cosine distance between the features of both networks; scalar float32, 0 to 2."""
    return 1.0 - F.cosine_similarity(student_ND.float(), start_ND.float(), dim=-1).mean()


def gram_distance(student_NDhw: Tensor, start_NDhw: Tensor) -> Tensor:
    """Return the distance between the Gram matrices (patch cosines) of both networks.

    It constrains the similarities of patches within an image, on which segmentation depends, not the features.

    Args:
        student_NDhw: Patch features of the student, any float dtype.
        start_NDhw: Patch features of the start weights for the same views.

    Returns:
        Scalar float32: mean squared difference of the cosines over pairs of patches and views.

    Source: Siméoni et al. 2025 (DINOv3), arXiv:2508.10104, section 4.2. Departs: the anchor is the start weights.
    """
    student_NPP, start_NPP = _cosines(student_NDhw), _cosines(start_NDhw)
    return (student_NPP - start_NPP).square().mean()


def _cosines(patches_NDhw: Tensor) -> Tensor:
    unit_NPD = F.normalize(patches_NDhw.float().flatten(2).mT, dim=-1)
    return torch.bmm(unit_NPD, unit_NPD.mT)
