"""Draw all augmentation parameters of a step on the host, and send them to the device as one tensor.

Kornia draws on the CPU. Its tensors sent one by one would make the host wait for the device dozens of times a step.

Legend: N images of the global batch, V views of a kind, n rows (view-major: all images of view 1, ...), F columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from kornia.augmentation import AugmentationBase2D
from torch import Tensor

Params = dict[str, Tensor]


def draw(operations: Sequence[AugmentationBase2D], views: int, images: int, key: tuple[int, ...]) -> list[Params]:
    """Draw the parameters of each operation, from a random stream of its own.

    Kornia draws from torch's global generator and takes no other, so that one is seeded and put back.

    Args:
        operations: Kornia augmentations, in a fixed order.
        views: V, of one kind.
        images: N.
        key: Numbers that the streams are a function of.

    Returns:
        For each operation its tensors, (V, N, ...), on the CPU.
    """
    drawn = []
    with torch.random.fork_rng(devices=[]):
        for number, operation in enumerate(operations):
            # Not torch.manual_seed, which would seed the GPUs too, without restoring them.
            torch.default_generator.manual_seed(int(np.random.SeedSequence((*key, number)).generate_state(1)[0]))
            params = operation.forward_parameters((views * images, 1, 1, 1))
            del params["forward_input_shape"]  # the only one without a row per image
            drawn.append({name: value.view(views, images, *value.shape[1:]) for name, value in params.items()})
    return drawn


def rows(params: Params) -> Params:
    """Turn (V, N, ...) into view-major rows, (n, ...)."""
    return {name: value.flatten(0, 1) for name, value in params.items()}


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to a device; the host does not wait for a GPU.

    On others than CUDA the copy may be taken from memory that is already in use again, so they wait.
    """
    if device.type != "cuda":
        return tensor.to(device, non_blocking=device.type not in ("mps", "xpu"))
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class Layout:
    """Which columns of a table hold what: for each operation name, first and last column, and whether it is a yes."""

    columns: tuple[tuple[tuple[str, int, int, bool], ...], ...]

    def unpack(self, table_nF: Tensor) -> list[Params]:
        """Give each operation its columns: float32, (n,) or (n, width); bool where it was so on the host."""
        yes_nF = table_nF > 0.5
        return [
            {name: _columns(yes_nF if is_bool else table_nF, first, last) for name, first, last, is_bool in operation}
            for operation in self.columns
        ]


def pack(kinds: Sequence[Sequence[Params]]) -> tuple[Tensor, Layout]:
    """Put the parameters of several kinds of views, one below the other, into one table.

    Args:
        kinds: For each kind the `rows` of each operation; all kinds have the same operations. Whole numbers have to be
            below 2**24, where float32 still knows them.

    Returns:
        (n, F) float32 on the CPU, and what its columns are.
    """
    tables = [torch.cat([column for params in kind for column in _flat(params)], dim=1) for kind in kinds]
    place, columns = 0, []
    for params in kinds[0]:
        own = []
        for name, value in params.items():
            width = value[0].numel() if value.ndim > 1 else 0
            own.append((name, place, place + width, value.dtype == torch.bool or name == "batch_prob"))
            place += max(width, 1)
        columns.append(tuple(own))
    return torch.cat(tables), Layout(tuple(columns))


def _flat(params: Params) -> Iterator[Tensor]:
    return (value.float().view(len(value), -1) for value in params.values())


def _columns(table_nF: Tensor, first: int, last: int) -> Tensor:
    return table_nF[:, first:last] if last > first else table_nF[:, first]
