"""Distillation loss: distance between patch features of a student and a frozen teacher.

Shapes: N views, T width of the teacher, h w patches.
"""

import torch.nn.functional as F
from torch import Tensor


def patch_distance(student_NThw: Tensor, teacher_NThw: Tensor) -> Tensor:
    """Return the mean cosine distance between projected student patches and teacher patches.

    The finer map is average-pooled to the coarser grid; interpolating the coarser one would invent detail.

    Args:
        student_NThw: Patch maps of the student, projected to the teacher's width.
        teacher_NThw: Patch maps of the teacher for the same views; the grid may differ.

    Returns:
        Scalar float32, 0 to 2.
    """
    rows, columns = (min(sides) for sides in zip(student_NThw.shape[-2:], teacher_NThw.shape[-2:], strict=True))
    student, teacher = (F.adaptive_avg_pool2d(maps.float(), (rows, columns)) for maps in (student_NThw, teacher_NThw))
    return 1.0 - F.cosine_similarity(student, teacher, dim=1).mean()
