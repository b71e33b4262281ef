"""Invertible (ZCA) whitening with a floor: directions of high energy are scaled down, the basis stays.

The directions and factors of `dinocli.quality.whitening.fit_whitening`, but symmetric, so that the signs of
the directions do not matter, and of full width: a later image may differ in directions in which the sample did not
vary.

Legend: N B rows, S directions, P width.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.quality.whitening import FLOOR, MEAN_WEIGHT, whitening_directions

OUTSIDE = 1 / math.sqrt(0.03)
"""Factor of components outside the directions. Rows are normalised, so any would do, but stored factors rely on it."""


@dataclass(frozen=True)
class EnergyWhitening:
    """Directions of a sample and their factors; components outside their span are multiplied by `OUTSIDE`.

    Args:
        axes_SP: Orthonormal directions, float32.
        scale_S: Factor of each direction, `OUTSIDE` at most.
    """

    axes_SP: Tensor
    scale_S: Tensor

    @classmethod
    def fit(cls, rows_NP: Tensor, floor: float = FLOOR, mean_weight: float = MEAN_WEIGHT) -> "EnergyWhitening":
        """Fit the whitening to rows, as `whitening_directions`."""
        axes_PS, scale_S = whitening_directions(rows_NP.double().numpy(), floor=floor, mean_weight=mean_weight)
        return cls(torch.from_numpy(axes_PS.T.copy()).float(), torch.from_numpy(OUTSIDE * scale_S).float())

    def whiten(self, rows_BP: Tensor) -> Tensor:
        """Return the whitened rows, L2-normalised."""
        return F.normalize(self._scaled(rows_BP, self.scale_S, OUTSIDE), dim=1)

    def undo(self, rows_BP: Tensor) -> Tensor:
        """Invert `whiten`: return the original rows, L2-normalised."""
        return F.normalize(self._scaled(rows_BP, 1 / self.scale_S, 1 / OUTSIDE), dim=1)

    def _scaled(self, rows_BP: Tensor, scale_S: Tensor, outside: float) -> Tensor:
        return outside * rows_BP + ((rows_BP @ self.axes_SP.T) * (scale_S - outside)) @ self.axes_SP

    def to(self, device: torch.device) -> "EnergyWhitening":
        """Return a copy on a device."""
        return EnergyWhitening(self.axes_SP.to(device), self.scale_S.to(device))
