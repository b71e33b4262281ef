"""The teacher: an exponential moving average of the student."""

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def make_teacher(student: Network) -> Network:
    """Return a copy of the student, head included, without gradients and without dropout.

    The head must be copied: one of its own would give targets from an unrelated projection for hundreds of steps.
    """
    teacher = copy.deepcopy(student).requires_grad_(False)
    for module in teacher.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "drop_prob"):  # timm's stochastic depth
            setattr(module, "drop_prob", 0.0)  # noqa: B010 - mypy types module attributes as tensors
    return teacher


@torch.no_grad()
def update_teacher(teacher: Iterable[nn.Parameter], student: Iterable[nn.Parameter], momentum: float) -> None:
    """Move the teacher's parameters towards the student's, in place: t = m * t + (1 - m) * s.

    A higher momentum m gives a slower teacher. Buffers (batch-norm statistics) are not averaged.

    Source: Caron et al. 2021, arXiv:2104.14294, section 3.1.
    """
    torch._foreach_lerp_([*teacher], [parameter.detach() for parameter in student], 1.0 - momentum)


@torch.no_grad()
def copy_buffers(average: nn.Module, student: nn.Module) -> None:
    """Copy the buffers (batch-norm statistics) of the student to its EMA, which has no forward passes of its own."""
    source, target = [*student.buffers()], [*average.buffers()]
    if target:
        torch._foreach_copy_(target, source)
