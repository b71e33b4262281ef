"""Frozen teacher of any architecture, for distillation into a smaller network.

Its features are centred by their mean over the folder: images of one kind lie in a narrow cone of feature space, and
the student has to learn their differences.

Shapes: N views of B images, I channels of the input, S pixels, D width of its features, C of its patches, K prototypes,
h w patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinocli.config.preprocess import Preprocess
from dinocli.models.backbone import Backbone
from dinocli.models.head import NetworkOutput, Prototypes
from dinocli.models.weights_info import WeightsInfo


@dataclass(frozen=True)
class TeacherWeights:
    """Backbone of a frozen teacher and the source of its weights.

    Args:
        backbone: On the device of the run; never changed.
        info: Source, normalisation and image size of its training.
    """

    backbone: Backbone
    info: WeightsInfo

    def preprocess(self, of_student: Preprocess) -> Preprocess:
        """Return the preprocessing of the teacher: reading of the student, normalisation and size of the teacher."""
        return replace(of_student, mean=self.info.mean, std=self.info.std, size=self.info.size)


def licence_of(student: WeightsInfo, teacher: WeightsInfo) -> str:
    """Return the licences of a distilled network: that of its start weights, if any, and the teacher's."""
    if not student.pretrained or student.licence == teacher.licence:
        return teacher.licence
    return f"{student.licence}; teacher: {teacher.licence}"


class FrozenTeacher(nn.Module):
    """Network with the interface of `DinoNetwork` that is never trained and always in eval mode.

    Args:
        weights: Weights of the teacher.
        prototypes: Number of prototypes, K; random until they are fitted.
        mean: Mean by which the views are normalised, per channel.
        std: Standard deviation by which the views are normalised, per channel.
    """

    def __init__(
        self, weights: TeacherWeights, prototypes: int, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.backbone = weights.backbone.requires_grad_(False)
        device = next(self.backbone.parameters()).device
        self.prototypes = Prototypes(self.backbone.dim, prototypes, normed=True).requires_grad_(False)
        self.feature_mean: Tensor
        self.patch_mean: Tensor
        self.register_buffer("feature_mean", torch.zeros(self.backbone.dim))
        self.register_buffer("patch_mean", torch.zeros(self.backbone.map_dim))
        of_views, of_teacher = torch.tensor([mean, std]), torch.tensor([weights.info.mean, weights.info.std])
        self.same_colours = bool(torch.equal(of_views, of_teacher))
        self._scale_I11 = (of_views[1] / of_teacher[1]).view(-1, 1, 1).to(device)
        self._shift_I11 = ((of_views[0] - of_teacher[0]) / of_teacher[1]).view(-1, 1, 1).to(device)
        self.to(device)
        self.eval()

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, views: Sequence[Tensor], count: int, patches: bool = False) -> NetworkOutput:
        """Compute the outputs of the global views.

        Args:
            views: One view-major tensor, (count * B, I, S, S), normalised for the student.
            count: Number of views.
            patches: Return the feature maps too.

        Returns:
            Logits are cosines with the prototypes; features and maps are centred by their means over the folder.
        """
        features_ND, maps_NChw = self.raw(views[0], patches)
        features_ND = features_ND.float() - self.feature_mean
        unit_ND = F.normalize(features_ND, dim=-1)
        scores_NK = self.prototypes(unit_ND)
        if maps_NChw is not None:
            maps_NChw = maps_NChw.float() - self.patch_mean[:, None, None]
        return NetworkOutput(scores_NK.view(count, -1, scores_NK.shape[-1]), features_ND, maps_NChw, unit_ND, maps_NChw)

    def raw(self, views_NISS: Tensor, patches: bool) -> tuple[Tensor, Tensor | None]:
        """Return the uncentred features of the backbone and, on request, feature maps, for the student's views."""
        views_NISS = self._to_teacher(views_NISS)
        return self.backbone.with_patches(views_NISS) if patches else (self.backbone(views_NISS), None)

    def fitted(self) -> dict[str, Tensor]:
        """Return the tensors fitted to the folder (means and prototypes), for a checkpoint."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("backbone.")}

    def restore(self, fitted: dict[str, Tensor]) -> None:
        """Restore the tensors of `fitted`."""
        current = self.fitted()
        if current.keys() != fitted.keys():
            raise KeyError(f"a frozen teacher needs {sorted(current)}")
        for name, value in current.items():
            value.copy_(fitted[name])

    def _to_teacher(self, views_NISS: Tensor) -> Tensor:
        """Convert views to the teacher's normalisation, and to the nearest size that is a multiple of its patch."""
        views_NISS = views_NISS if self.same_colours else views_NISS * self._scale_I11 + self._shift_I11
        side, patch = views_NISS.shape[-1], self.backbone.patch or 1
        target = self.backbone.native_size if self.backbone.fixed_size else max(1, round(side / patch)) * patch
        if target == side:
            return views_NISS
        return F.interpolate(views_NISS.float(), (target, target), mode="bicubic", antialias=True)
