"""The centre of the teacher's logits, updated from batch sums that the caller has reduced over processes.

Shapes: G global views, B images, K prototypes.
"""

from torch import Tensor


def batch_sum(logits_GBK: Tensor) -> Tensor:
    """Add the teacher's logits up over views and images: (K,), float32."""
    return logits_GBK.detach().float().sum(dim=(0, 1))


def updated_center(center_K: Tensor, sum_K: Tensor, count: int, momentum: float) -> Tensor:
    """Move the centre towards the mean logits of this batch.

    Call it after the loss: targets are centred with what was known before the batch.

    Args:
        center_K: The centre so far.
        sum_K: `batch_sum` over all slices of the batch and all processes.
        count: How many logit vectors that sum holds (views times images).
        momentum: Share of the old centre that stays (paper: 0.9; 0.999 collapses).

    Returns:
        The new centre, shape (K,), float32.

    Source: Caron et al. 2021, arXiv:2104.14294, equation 4.
    """
    return center_K * momentum + sum_K * ((1.0 - momentum) / count)
