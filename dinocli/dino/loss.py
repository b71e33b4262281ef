"""The DINO loss, its targets, and their entropies.

Shapes: V all views, G global views (the first G of V), B images, K prototypes.
"""

import torch
from torch import Tensor


def teacher_probs(logits_GBK: Tensor, center_K: Tensor, temp: float) -> Tensor:
    """Return the targets: softmax of the centred, sharpened teacher logits, float32, without gradient.

    Centring alone collapses to uniform outputs, sharpening alone to one prototype; together they prevent both.

    Args:
        logits_GBK: Teacher logits of the global views, any float dtype.
        center_K: Centre before this batch.
        temp: Softmax temperature, > 0 (paper: 0.04 to 0.07).

    Returns:
        Probabilities of shape (G, B, K), float32.

    Source: Caron et al. 2021, arXiv:2104.14294, section 3.1.
    """
    return torch.softmax((logits_GBK.detach().float() - center_K.float()) / temp, dim=-1)


def dino_loss(student_VBK: Tensor, probs_GBK: Tensor, temp: float) -> Tensor:
    """Return the mean cross-entropy between each student view and each *other* teacher view.

    The first G student views are the teacher's views; a view is not compared with itself, which leaves G * V - G pairs.
    The log-softmax of all views is not stored: since targets sum to one, the cross-entropy is logsumexp(s) - p.s, one
    small matrix product per image.

    Args:
        student_VBK: Student logits, view-major, any float dtype; the loss is computed in float32.
        probs_GBK: Targets from `teacher_probs`.
        temp: Softmax temperature of the student, > 0 (paper: 0.1).

    Returns:
        Scalar float32 in nats, mean over pairs and images.

    Raises:
        ValueError: There is no pair of different views (fewer than two student views).

    Source: Caron et al. 2021, arXiv:2104.14294, equation 3. Departs: mean over pairs instead of the sum, as in the
    authors' code.
    """
    views, globals_ = student_VBK.shape[0], probs_GBK.shape[0]
    pairs = globals_ * views - globals_
    if pairs < 1:
        raise ValueError(f"{views} student and {globals_} teacher views leave no pair of different views")
    scaled_VBK = student_VBK.float() / temp
    dots_BGV = torch.bmm(probs_GBK.transpose(0, 1), scaled_VBK.permute(1, 2, 0))
    entropy_BGV = torch.logsumexp(scaled_VBK, dim=-1).T[:, None, :] - dots_BGV
    same_view_GV = torch.eye(globals_, views, dtype=torch.bool, device=entropy_BGV.device)
    loss: Tensor = entropy_BGV.masked_fill(same_view_GV, 0.0).sum() / (pairs * entropy_BGV.shape[0])
    return loss


def mean_entropy(probs_GBK: Tensor) -> Tensor:
    """Return the mean entropy of the targets in nats: ln K if uniform, 0 if one-hot.

    The loss minus this entropy is the mean KL divergence between teacher and student, which training can reduce to 0.
    """
    entropy: Tensor = torch.special.entr(probs_GBK).sum(dim=-1).mean()
    return entropy


def marginal_entropy(probs_sum_K: Tensor) -> Tensor:
    """Return the entropy of the mean target in nats: near 0 if all images share one prototype.

    Args:
        probs_sum_K: Sum of the targets over views, images and processes, up to a factor.
    """
    entropy: Tensor = torch.special.entr(probs_sum_K / probs_sum_K.sum()).sum()
    return entropy
