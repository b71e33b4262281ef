"""Anchors: distances between the outputs of the network and of its start weights for the same views.

Shapes: N views, D width, h w rows and columns of patches, P patches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def feature_distance(student_ND: Tensor, start_ND: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between the features of both networks; scalar float32, 0 to 2."""
    return 1.0 - F.cosine_similarity(student_ND.float(), start_ND.float(), dim=-1).mean()


def gram_distance(student_NDhw: Tensor, start_NDhw: Tensor) -> Tensor:
    """Return the distance between the patch similarity (Gram) matrices of both networks.

    Patch features may move; their similarities within the image, which segmentation depends on, are held.

    Args:
        student_NDhw: Patch features, any float dtype.
        start_NDhw: Those of the start for the same views.

    Returns:
        Scalar float32: mean squared difference of the patches' cosines, over pairs of patches and views.

    Source: Siméoni et al. 2025 (DINOv3), arXiv:2508.10104, section 4.2. Departs: the anchor is the start of the run.
    """
    student_NPP, start_NPP = _cosines(student_NDhw), _cosines(start_NDhw)
    return (student_NPP - start_NPP).square().mean()


def _cosines(patches_NDhw: Tensor) -> Tensor:
    unit_NPD = F.normalize(patches_NDhw.float().flatten(2).mT, dim=-1)
    return torch.bmm(unit_NPD, unit_NPD.mT)
