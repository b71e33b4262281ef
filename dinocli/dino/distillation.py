"""How far a student's view of an image is from a frozen teacher's.

Shapes: N views, T width of the teacher, h w patches.
"""

import torch.nn.functional as F
from torch import Tensor


def patch_distance(student_NThw: Tensor, teacher_NThw: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between projected patches and the teacher's, over places of the coarser grid.

    The finer map is averaged over the cells of the coarser one: interpolating the other way would invent detail.

    Args:
        student_NThw: Patch maps of the student, projected to the teacher's width.
        teacher_NThw: Those of the teacher for the same views; its grid may be another.

    Returns:
        Scalar float32, 0 to 2.
    """
    rows, columns = (min(sides) for sides in zip(student_NThw.shape[-2:], teacher_NThw.shape[-2:], strict=True))
    student, teacher = (F.adaptive_avg_pool2d(maps.float(), (rows, columns)) for maps in (student_NThw, teacher_NThw))
    return 1.0 - F.cosine_similarity(student, teacher, dim=1).mean()
