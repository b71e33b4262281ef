"""Whitening that can be undone: directions of much energy are tamed, all others keep their place.

As `dinocli.quality.normalized_features.fit_whitening`, but symmetric, so that it does not turn with the signs of the
directions, and of full width: an image of another day may differ where the sample did not vary.

Legend: N B rows, S rows fitted to and directions they span, P width.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.quality.normalized_features import FLOOR


@dataclass(frozen=True)
class EnergyWhitening:
    """The directions of a sample, and how much each is scaled; what they do not span is divided by sqrt(`FLOOR`).

    Args:
        axes_SP: Orthonormal directions, float32.
        scale_S: What they are multiplied by: 1 / sqrt(energy + `FLOOR`).
    """

    axes_SP: Tensor
    scale_S: Tensor

    @classmethod
    def fit(cls, rows_NP: Tensor) -> "EnergyWhitening":
        """Fit it to rows; those that are not finite do not count."""
        finite_SP = rows_NP[rows_NP.isfinite().all(dim=1)].double()
        _, length_S, axes_SP = torch.linalg.svd(finite_SP / math.sqrt(len(finite_SP)), full_matrices=False)
        return cls(axes_SP.float(), (length_S.square() + FLOOR).rsqrt().float())

    def whiten(self, rows_BP: Tensor) -> Tensor:
        """Return the rows whitened and scaled to length 1."""
        return F.normalize(self._scaled(rows_BP, self.scale_S, 1 / math.sqrt(FLOOR)), dim=1)

    def undo(self, rows_BP: Tensor) -> Tensor:
        """Return what `whiten` made the rows of, scaled to length 1."""
        return F.normalize(self._scaled(rows_BP, 1 / self.scale_S, math.sqrt(FLOOR)), dim=1)

    def _scaled(self, rows_BP: Tensor, scale_S: Tensor, outside: float) -> Tensor:
        return outside * rows_BP + ((rows_BP @ self.axes_SP.T) * (scale_S - outside)) @ self.axes_SP

    def to(self, device: torch.device) -> "EnergyWhitening":
        """Return the same on a device."""
        return EnergyWhitening(self.axes_SP.to(device), self.scale_S.to(device))
