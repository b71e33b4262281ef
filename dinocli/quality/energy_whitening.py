"""Invertible (ZCA) whitening with a floor: directions of high energy are scaled down, the basis stays.

Like `dinocli.quality.normalized_features.fit_whitening`, but symmetric, so that the signs of the directions do not
matter, and of full width: a later image may differ in directions in which the sample did not vary.

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
    """Directions of a sample and their scales; components outside their span are divided by sqrt(`FLOOR`).

    Args:
        axes_SP: Orthonormal directions, float32.
        scale_S: Factor of each direction: 1 / sqrt(energy + `FLOOR`).
    """

    axes_SP: Tensor
    scale_S: Tensor

    @classmethod
    def fit(cls, rows_NP: Tensor) -> "EnergyWhitening":
        """Fit the whitening to rows; non-finite ones are ignored."""
        finite_SP = rows_NP[rows_NP.isfinite().all(dim=1)].double()
        _, length_S, axes_SP = torch.linalg.svd(finite_SP / math.sqrt(len(finite_SP)), full_matrices=False)
        return cls(axes_SP.float(), (length_S.square() + FLOOR).rsqrt().float())

    def whiten(self, rows_BP: Tensor) -> Tensor:
        """Return the whitened rows, L2-normalised."""
        return F.normalize(self._scaled(rows_BP, self.scale_S, 1 / math.sqrt(FLOOR)), dim=1)

    def undo(self, rows_BP: Tensor) -> Tensor:
        """Invert `whiten`: return the original rows, L2-normalised."""
        return F.normalize(self._scaled(rows_BP, 1 / self.scale_S, math.sqrt(FLOOR)), dim=1)

    def _scaled(self, rows_BP: Tensor, scale_S: Tensor, outside: float) -> Tensor:
        return outside * rows_BP + ((rows_BP @ self.axes_SP.T) * (scale_S - outside)) @ self.axes_SP

    def to(self, device: torch.device) -> "EnergyWhitening":
        """Return a copy on a device."""
        return EnergyWhitening(self.axes_SP.to(device), self.scale_S.to(device))
