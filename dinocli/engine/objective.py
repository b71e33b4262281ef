"""From the networks' outputs to the loss and what is known about it. Further losses join here.

Shapes: V all views, G global views, B images, K prototypes, D width, E losses beside DINO's.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dinocli.augment.draw import send
from dinocli.dino.anchors import feature_distance, gram_distance
from dinocli.dino.center import batch_sum
from dinocli.dino.koleo import koleo_loss
from dinocli.dino.loss import dino_loss, mean_entropy, teacher_probs
from dinocli.engine.step_schedule import StepValues
from dinocli.models.backbone import Backbone
from dinocli.models.head import Seen


@dataclass(frozen=True)
class Parts:
    """What one slice of a batch gives besides its gradient; every value adds up over slices and processes.

    Args:
        loss: Scalar, nats, mean over the slice: DINO's alone.
        entropy: Mean entropy of the targets, nats.
        logits_sum_K: Teacher logits added up, for the centre.
        probs_sum_K: Targets added up, for the entropy of their mean.
        extras_E: The other losses, before their weights.
    """

    loss: Tensor
    entropy: Tensor
    logits_sum_K: Tensor
    probs_sum_K: Tensor
    extras_E: Tensor


@dataclass(frozen=True)
class Memory:
    """What the start makes of the global views; None where nobody asks."""

    features_ND: Tensor | None
    patches_NDhw: Tensor | None


class Objective:
    """DINO's loss and, by weight, what joins it.

    Args:
        weights: Of `koleo`, `gram_anchor` and `feature_anchor`; those with 0 are never computed.
        start: The network that the run began with, on the device. Copied only where an anchor needs it.
    """

    def __init__(self, weights: Mapping[str, float], start: Backbone) -> None:
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.wants_patches = "gram_anchor" in self.weights
        anchored = self.wants_patches or "feature_anchor" in self.weights
        self.start = copy.deepcopy(start).eval().requires_grad_(False) if anchored else None

    def remember(self, globals_: Tensor) -> Memory:
        """Let the start look at the global views, (G * B, 3, S, S), where an anchor needs it."""
        if self.start is None:
            return Memory(None, None)
        if not self.wants_patches:
            return Memory(self.start(globals_), None)
        return Memory(*self.start.with_patches(globals_))

    def __call__(
        self,
        student: Seen,
        teacher_GBK: Tensor,
        memory: Memory,
        center_K: Tensor,
        sources: Sequence[int],
        now: StepValues,
    ) -> tuple[Tensor, Parts]:
        """Return the loss to descend and its parts, in float32 whatever the networks computed in.

        Args:
            student: Its outputs for all views.
            teacher_GBK: The teacher's scores of the global views.
            memory: Of `remember`, for the same global views.
            center_K: The centre from before this batch.
            sources: Which image of the folder each of the B rows shows.
            now: Temperatures.
        """
        probs_GBK = teacher_probs(teacher_GBK, center_K, now.teacher_temp)
        loss = dino_loss(student.scores_VBK, probs_GBK, now.student_temp)
        extras = [self._extra(name, student, memory, sources, len(teacher_GBK)) for name in self.weights]
        extras_E = torch.stack(extras) if extras else loss.new_empty(0)
        parts = Parts(
            loss.detach(), mean_entropy(probs_GBK), batch_sum(teacher_GBK), probs_GBK.sum(dim=(0, 1)), extras_E.detach()
        )
        for weight, extra in zip(self.weights.values(), extras, strict=True):
            loss = loss + weight * extra
        return loss, parts

    def _extra(self, name: str, student: Seen, memory: Memory, sources: Sequence[int], globals_: int) -> Tensor:
        seen = globals_ * len(sources)
        features_ND = student.features_ND[:seen]
        if name == "koleo":
            sources_B = send(torch.tensor(sources), features_ND.device)
            views = [koleo_loss(view_BD, sources_B) for view_BD in features_ND.chunk(globals_)]
            return torch.stack(views).mean()
        if name == "feature_anchor":
            assert memory.features_ND is not None
            return feature_distance(features_ND, memory.features_ND)
        assert student.patches_NDhw is not None
        assert memory.patches_NDhw is not None
        return gram_distance(student.patches_NDhw[:seen], memory.patches_NDhw)
