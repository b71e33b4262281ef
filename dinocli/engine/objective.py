"""From the two networks' scores to the loss and what is known about it. Further losses join here.

Shapes: V all views, G global views, B images, K prototypes.
"""

from dataclasses import dataclass

from torch import Tensor

from dinocli.dino.center import batch_sum
from dinocli.dino.loss import dino_loss, mean_entropy, teacher_probs
from dinocli.engine.plan import Now


@dataclass(frozen=True)
class Parts:
    """What one slice of a batch gives besides its gradient; all of it adds up over slices and processes.

    Args:
        loss: Scalar, nats, mean over the slice.
        entropy: Mean entropy of the targets, nats.
        logits_sum_K: Teacher logits added up, for the centre.
        probs_sum_K: Targets added up, for the entropy of their mean.
    """

    loss: Tensor
    entropy: Tensor
    logits_sum_K: Tensor
    probs_sum_K: Tensor


def objective(student_VBK: Tensor, teacher_GBK: Tensor, center_K: Tensor, now: Now) -> tuple[Tensor, Parts]:
    """Return the loss to descend and its parts, in float32 whatever the networks computed in."""
    probs_GBK = teacher_probs(teacher_GBK, center_K, now.teacher_temp)
    loss = dino_loss(student_VBK, probs_GBK, now.student_temp)
    return loss, Parts(loss.detach(), mean_entropy(probs_GBK), batch_sum(teacher_GBK), probs_GBK.sum(dim=(0, 1)))
