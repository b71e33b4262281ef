"""Draw all augmentation parameters of a step on the host, and send them to the device as one tensor.

Kornia draws on the CPU; sending its tensors one by one would synchronise host and device dozens of times a step.

Legend: N images of the global batch, V views of a kind, n rows (view-major: all images of view 1, ...), F columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:  # features need `to_device`, not Kornia
    from kornia.augmentation import AugmentationBase2D

Params = dict[str, Tensor]


def draw(operations: "Sequence[AugmentationBase2D]", views: int, images: int, key: tuple[int, ...]) -> list[Params]:
    """Draw the parameters of each operation from its own random stream.

    Kornia draws from torch's global generator only, so that generator is seeded and restored.

    Args:
        operations: Kornia augmentations, in a fixed order.
        views: Number of views of the kind, V.
        images: Number of images, N.
        key: Integers that determine the streams.

    Returns:
        Parameters of each operation, (V, N, ...), on the CPU.
    """
    drawn = []
    with torch.random.fork_rng(devices=[]):
        for number, operation in enumerate(operations):
            # Not torch.manual_seed, which would seed the GPUs too, without restoring them.
            torch.default_generator.manual_seed(int(np.random.SeedSequence((*key, number)).generate_state(1)[0]))
            params = operation.forward_parameters((views * images, 1, 1, 1))
            del params["forward_input_shape"]  # has no row per image
            drawn.append({name: value.view(views, images, *value.shape[1:]) for name, value in params.items()})
    return drawn


def view_major(params: Params) -> Params:
    """Reshape (V, N, ...) to rows, (n, ...)."""
    return {name: value.flatten(0, 1) for name, value in params.items()}


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a host tensor to a device, asynchronously on CUDA.

    On MPS and XPU the copy is synchronous, since the source memory might be reused before it ends.
    """
    if device.type != "cuda":
        return tensor.to(device, non_blocking=device.type not in ("mps", "xpu"))
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class Layout:
    """Columns of a packed table: (name, first column, end column, whether bool) of each parameter of each operation."""

    columns: tuple[tuple[tuple[str, int, int, bool], ...], ...]

    def unpack(self, table_nF: Tensor) -> list[Params]:
        """Return the parameters of each operation: float32 or bool, (n,) or (n, width)."""
        bool_nF = table_nF > 0.5
        return [
            {name: _columns(bool_nF if is_bool else table_nF, first, last) for name, first, last, is_bool in operation}
            for operation in self.columns
        ]


def pack(kinds: Sequence[Sequence[Params]]) -> tuple[Tensor, Layout]:
    """Pack the parameters of several kinds of views into one table, one kind below the other.

    Args:
        kinds: For each kind the parameters of each operation, (n, ...); all kinds have the same operations. Integers
            must be below 2**24, to be exact in float32.

    Returns:
        Table (n, F) float32 on the CPU, and its columns.
    """
    tables = [torch.cat([column for params in kind for column in _flat(params)], dim=1) for kind in kinds]
    place, columns = 0, []
    for params in kinds[0]:
        of_operation = []
        for name, value in params.items():
            width = value[0].numel() if value.ndim > 1 else 0
            of_operation.append((name, place, place + width, value.dtype == torch.bool or name == "batch_prob"))
            place += max(width, 1)
        columns.append(tuple(of_operation))
    return torch.cat(tables), Layout(tuple(columns))


def _flat(params: Params) -> Iterator[Tensor]:
    return (value.float().view(len(value), -1) for value in params.values())


def _columns(table_nF: Tensor, first: int, last: int) -> Tensor:
    return table_nF[:, first:last] if last > first else table_nF[:, first]
