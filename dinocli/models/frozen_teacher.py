"""A frozen network of any architecture in the place of DINO's teacher, for distillation into a smaller one.

Its features are taken without their mean over the folder: all images of one kind lie in a narrow cone, and what the
student has to learn is what tells them apart.

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
from dinocli.models.weights import WeightsInfo


@dataclass(frozen=True)
class TeacherWeights:
    """What a student is taught by.

    Args:
        backbone: On the device of the run. Never changed.
        info: Where it comes from, and the normalisation and size that it was trained with.
    """

    backbone: Backbone
    info: WeightsInfo

    def preprocess(self, of_student: Preprocess) -> Preprocess:
        """Return how whole images become input of the teacher: read as for the student, then its own way."""
        return replace(of_student, mean=self.info.mean, std=self.info.std, size=self.info.size)


def licence_of(student: WeightsInfo, teacher: WeightsInfo) -> str:
    """Name the licences that a distilled network is under: that of its start, if it had one, and the teacher's."""
    if not student.pretrained or student.licence == teacher.licence:
        return teacher.licence
    return f"{student.licence}; teacher: {teacher.licence}"


class FrozenTeacher(nn.Module):
    """Look at normalised views as `DinoNetwork` does, but never learn; always in eval mode.

    Args:
        weights: Of the teacher.
        prototypes: Number of them, K. They are random until they are fitted.
        mean: Of the normalisation that the views come with, per channel.
        std: Its standard deviation.
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
        given, own = torch.tensor([mean, std]), torch.tensor([weights.info.mean, weights.info.std])
        self.same_colours = bool(torch.equal(given, own))
        self._scale_I11 = (given[1] / own[1]).view(-1, 1, 1).to(device)
        self._shift_I11 = ((given[0] - own[0]) / own[1]).view(-1, 1, 1).to(device)
        self.to(device)
        self.eval()

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, views: Sequence[Tensor], count: int, patches: bool = False) -> NetworkOutput:
        """Look at the global views.

        Args:
            views: One view-major tensor, (count * B, I, S, S), normalised for the student.
            count: Number of views.
            patches: Also give the feature maps.

        Returns:
            Scores as cosines, features and maps without their mean over the folder.
        """
        features_ND, maps_NChw = self.raw(views[0], patches)
        features_ND = features_ND.float() - self.feature_mean
        unit_ND = F.normalize(features_ND, dim=-1)
        scores_NK = self.prototypes(unit_ND)
        if maps_NChw is not None:
            maps_NChw = maps_NChw.float() - self.patch_mean[:, None, None]
        return NetworkOutput(scores_NK.view(count, -1, scores_NK.shape[-1]), features_ND, maps_NChw, unit_ND, maps_NChw)

    def raw(self, views_NISS: Tensor, patches: bool) -> tuple[Tensor, Tensor | None]:
        """Return the backbone's own features and, if asked for, maps of views that are normalised for the student."""
        own_NISS = self._own(views_NISS)
        return self.backbone.with_patches(own_NISS) if patches else (self.backbone(own_NISS), None)

    def fitted(self) -> dict[str, Tensor]:
        """Return what was fitted to the folder, for a checkpoint: all but the backbone."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("backbone.")}

    def restore(self, fitted: dict[str, Tensor]) -> None:
        """Take over what `fitted` gave."""
        own = self.fitted()
        if own.keys() != fitted.keys():
            raise KeyError(f"a frozen teacher needs {sorted(own)}")
        for name, value in own.items():
            value.copy_(fitted[name])

    def _own(self, views_NISS: Tensor) -> Tensor:
        """Give views the teacher's normalisation, and a size that it takes: the nearest whole number of patches."""
        own_NISS = views_NISS if self.same_colours else views_NISS * self._scale_I11 + self._shift_I11
        side, patch = views_NISS.shape[-1], self.backbone.patch or 1
        wanted = self.backbone.own_size if self.backbone.one_size else max(1, round(side / patch)) * patch
        if wanted == side:
            return own_NISS
        return F.interpolate(own_NISS.float(), (wanted, wanted), mode="bicubic", antialias=True)
