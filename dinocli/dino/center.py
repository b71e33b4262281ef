"""Centre of the teacher's logits, updated from batch sums that the caller has all-reduced.

Shapes: G global views, B images, K prototypes.
"""

from torch import Tensor


def batch_sum(logits_GBK: Tensor) -> Tensor:
    """Return the sum of the teacher's logits over views and images: (K,), float32."""
    return logits_GBK.detach().float().sum(dim=(0, 1))


def updated_center(center_K: Tensor, sum_K: Tensor, count: int, momentum: float) -> Tensor:
    """Return the centre after the EMA update with the mean logits of a batch.

    Call it after the loss: targets are centred with the centre before the batch.

    Args:
        center_K: Centre before the batch.
        sum_K: `batch_sum` over all slices of the batch and all processes.
        count: Number of logit vectors in the sum (views x images).
        momentum: EMA momentum (paper: 0.9; 0.999 collapses).

    Returns:
        The new centre, shape (K,), float32.

    Source: Caron et al. 2021, arXiv:2104.14294, equation 4.
    """
    return center_K * momentum + sum_K * ((1.0 - momentum) / count)
