"""Training objective: DINO loss plus optional terms.

Shapes: V all views, G global views, B images, K prototypes, D width, E additional losses.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dinocli.augment.draw import to_device
from dinocli.dino.anchors import feature_distance, gram_distance
from dinocli.dino.center import batch_sum
from dinocli.dino.distillation import patch_distance
from dinocli.dino.koleo import koleo_loss
from dinocli.dino.loss import dino_loss, mean_entropy, teacher_probs
from dinocli.engine.step_schedule import StepValues
from dinocli.models.backbone import Backbone
from dinocli.models.head import NetworkOutput


class LossTerms(NamedTuple):
    """Loss terms of one slice of a batch, to be reduced over slices and processes.

    Args:
        loss: DINO loss without additional terms: scalar, nats, mean over the slice.
        entropy: Mean entropy of the targets, nats.
        extras_E: Additional losses, unweighted.
        logits_sum_K: Sum of the teacher's logits, for the centre.
        probs_sum_K: Sum of the targets, for the entropy of the mean target.
    """

    loss: Tensor
    entropy: Tensor
    extras_E: Tensor
    logits_sum_K: Tensor
    probs_sum_K: Tensor


class AnchorOutput(NamedTuple):
    """Outputs of the frozen start weights for the global views; None if no term uses them."""

    features_ND: Tensor | None
    patches_NDhw: Tensor | None


class Objective:
    """DINO loss plus weighted additional terms.

    Args:
        weights: Weight of `koleo`, `gram_anchor`, `feature_anchor`, `teacher_feature` and `teacher_patches`; a term of
            weight 0 is not computed.
        start: Backbone with the start weights, on the device; copied if an anchor is on.
    """

    def __init__(self, weights: Mapping[str, float], start: Backbone) -> None:
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.wants_teacher_patches = "teacher_patches" in self.weights
        self.wants_patches = "gram_anchor" in self.weights or self.wants_teacher_patches
        anchored = "gram_anchor" in self.weights or "feature_anchor" in self.weights
        self.start = copy.deepcopy(start).eval().requires_grad_(False) if anchored else None

    def anchor_output(self, global_views: Tensor) -> AnchorOutput:
        """Run the start weights on the global views, (G * B, channels, S, S), if an anchor is on."""
        if self.start is None:
            return AnchorOutput(None, None)
        if "gram_anchor" not in self.weights:
            return AnchorOutput(self.start(global_views), None)
        return AnchorOutput(*self.start.with_patches(global_views))

    def __call__(
        self,
        student: NetworkOutput,
        teacher: NetworkOutput,
        anchor: AnchorOutput,
        center_K: Tensor,
        sources: Sequence[int],
        now: StepValues,
    ) -> tuple[Tensor, LossTerms]:
        """Return the total loss and its terms, in float32 for any precision of the networks.

        Args:
            student: Outputs for all views.
            teacher: Outputs for the global views; with patches if `wants_teacher_patches`.
            anchor: Result of `anchor_output` for the same global views.
            center_K: Centre before this batch.
            sources: Index of each of the B images in the folder.
            now: Schedule values of this step; the temperatures are used.
        """
        teacher_GBK = teacher.logits_VBK
        probs_GBK = teacher_probs(teacher_GBK, center_K, now.teacher_temp)
        loss = dino_loss(student.logits_VBK, probs_GBK, now.student_temp)
        extras = [self._extra(name, student, teacher, anchor, sources) for name in self.weights]
        extras_E = torch.stack(extras) if extras else loss.new_empty(0)
        terms = LossTerms(
            loss.detach(), mean_entropy(probs_GBK), extras_E.detach(), batch_sum(teacher_GBK), probs_GBK.sum(dim=(0, 1))
        )
        for weight, extra in zip(self.weights.values(), extras, strict=True):
            loss = loss + weight * extra
        return loss, terms

    def _extra(
        self,
        name: str,
        student: NetworkOutput,
        teacher: NetworkOutput,
        anchor: AnchorOutput,
        sources: Sequence[int],
    ) -> Tensor:
        views = len(teacher.logits_VBK)
        global_rows = views * len(sources)
        features_ND = student.features_ND[:global_rows]
        if name == "koleo":
            sources_B = to_device(torch.tensor(sources), features_ND.device)
            return torch.stack([koleo_loss(view_BD, sources_B) for view_BD in features_ND.chunk(views)]).mean()
        if name == "feature_anchor":
            assert anchor.features_ND is not None
            return feature_distance(features_ND, anchor.features_ND)
        if name == "teacher_feature":
            return feature_distance(student.bottleneck_NC[:global_rows], teacher.bottleneck_NC)
        if name == "teacher_patches":
            assert student.projected_NThw is not None
            assert teacher.projected_NThw is not None
            return patch_distance(student.projected_NThw[:global_rows], teacher.projected_NThw)
        assert student.patches_NDhw is not None
        assert anchor.patches_NDhw is not None
        return gram_distance(student.patches_NDhw[:global_rows], anchor.patches_NDhw)
