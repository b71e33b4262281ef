"""One training step of DINO, in the order of the paper.

schedules -> views -> teacher -> student -> loss -> backward, clip, step -> teacher EMA -> centre

In distillation a frozen teacher provides the targets; the EMA of the student is still measured and saved.

Shapes: V all views, G global views, B images, K prototypes.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import record_function

from dinocli.augment.multicrop import GLOBAL_VIEWS, MultiCrop
from dinocli.data.loader import Batch
from dinocli.dino.center import updated_center
from dinocli.dino.loss import marginal_entropy
from dinocli.dino.teacher import copy_buffers, update_teacher
from dinocli.engine.device import Precision
from dinocli.engine.distributed import World, all_reduce_sum
from dinocli.engine.objective import LossTerms, Objective
from dinocli.engine.optim import Updater
from dinocli.engine.step_schedule import StepSchedule
from dinocli.engine.warmup import HeadWarmup
from dinocli.models.frozen_teacher import FrozenTeacher
from dinocli.models.head import DinoNetwork


@dataclass
class Learner:
    """State of the training: everything that a step reads or changes.

    `replica` is the student or its DDP wrapper; `trainable` are the names of the trained backbone parameters.
    `teacher` is the EMA of the student; in distillation `frozen_teacher` provides the targets instead. `compilation`
    is set by `dinocli.engine.compilation`.
    """

    student: DinoNetwork
    teacher: DinoNetwork
    replica: nn.Module
    center_K: Tensor
    updater: Updater
    objective: Objective
    views: MultiCrop
    plan: StepSchedule
    warmup: HeadWarmup
    trainable: frozenset[str]
    precision: Precision
    world: World
    batch_size: int
    seed: int
    frozen_teacher: FrozenTeacher | None = None
    compilation: Literal["off", "on", "failed"] = "off"

    @property
    def targets(self) -> DinoNetwork | FrozenTeacher:
        """The network that provides the targets."""
        return self.frozen_teacher or self.teacher


@dataclass(frozen=True)
class StepStats:
    """Metrics of one step, on the device: reading them synchronises.

    Args:
        values_N: Loss, mean entropy of the targets, entropy of the mean target (nats), gradient norm, 1 if finite, the
            additional losses, and in float16 the factor of the gradient scaler.
    """

    values_N: Tensor


def train_step(learner: Learner, slices: Sequence[Batch], step: int) -> StepStats:
    """Take one optimizer step on one batch.

    The batch comes in slices (gradient accumulation), and each process has a part of it. Centre, EMA and schedules are
    updated once per step, so that slices and processes do not change the result.
    """
    now = learner.plan.at(step)
    learner.updater.prepare(now)
    parts = []
    for number, batch in enumerate(slices):
        place = {"step": step, "start": batch.start, "global_batch": learner.batch_size}
        with record_function("multi-crop"):
            views = learner.views(batch.pixels_BCHW, batch.sizes_B2, batch.rows, **place)
        globals_, last = views[0][: GLOBAL_VIEWS * len(batch.sizes_B2)], number == len(slices) - 1
        with record_function("teacher"), learner.precision.autocast(), torch.no_grad():
            teacher = learner.targets([globals_], GLOBAL_VIEWS, learner.objective.wants_teacher_patches)
            anchor = learner.objective.anchor_output(globals_)
        with _gradient_sync(learner, last):
            with record_function("student"), learner.precision.autocast(), _seeded(learner, step, number):
                student = learner.replica(views, learner.views.count, learner.objective.wants_patches)
            with record_function("loss"):
                loss, part = learner.objective(student, teacher, anchor, learner.center_K, batch.rows, now)
            with record_function("backward"):
                learner.updater.backward(loss / len(slices))
        parts.append(part)
    with record_function("optimizer"):
        grad_norm, finite = learner.updater.step(now)
    with record_function("average"):
        update_teacher(learner.teacher.parameters(), learner.student.parameters(), now.momentum)
    if learner.frozen_teacher:
        copy_buffers(learner.teacher, learner.student)
    total = _reduced(parts, learner.world)
    center_K = updated_center(
        learner.center_K, total.logits_sum_K, GLOBAL_VIEWS * learner.batch_size, learner.plan.center_momentum
    )
    learner.center_K = torch.where(finite, center_K, learner.center_K)
    values = [total.loss, total.entropy, marginal_entropy(total.probs_sum_K), grad_norm, finite.float()]
    return StepStats(torch.stack([*values, *total.extras_E, *learner.updater.loss_scale()]))


def _reduced(parts: Sequence[LossTerms], world: World) -> LossTerms:
    """Reduce the terms over slices and processes in one all-reduce: average means, add sums."""
    share = 1.0 / (len(parts) * world.size)
    packed = torch.cat(
        [
            torch.stack([sum_of(p.loss for p in parts), sum_of(p.entropy for p in parts)]) * share,
            sum_of(p.extras_E for p in parts) * share,
            sum_of(p.logits_sum_K for p in parts),
            sum_of(p.probs_sum_K for p in parts),
        ]
    )
    all_reduce_sum(packed)
    means, extras = 2, len(parts[0].extras_E)
    logits_sum_K, probs_sum_K = packed[means + extras :].chunk(2)
    return LossTerms(packed[0], packed[1], logits_sum_K, probs_sum_K, packed[means : means + extras])


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """Return the sum of tensors, added in order."""
    first, *rest = tensors
    for tensor in rest:
        first = first + tensor
    return first


def _gradient_sync(learner: Learner, last: bool) -> contextlib.AbstractContextManager[None]:
    """Let DDP reduce gradients in the last slice only; earlier slices accumulate locally."""
    if isinstance(learner.replica, DistributedDataParallel) and not last:
        return learner.replica.no_sync()
    return contextlib.nullcontext()


@contextlib.contextmanager
def _seeded(learner: Learner, step: int, number: int) -> Iterator[None]:
    """Seed stochastic depth by (seed, step, slice, process), so that a resumed run draws the same."""
    device = learner.precision.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # by default it initialises every GPU
        torch.manual_seed(mixed_seed(learner.seed, step, number, learner.world.rank))
        yield


def mixed_seed(*numbers: int) -> int:
    """Return one seed from several numbers, such that consecutive steps get independent random streams."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
