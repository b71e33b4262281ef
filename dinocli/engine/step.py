"""One training step of DINO, in the order of the paper.

schedules -> views -> teacher -> student -> loss -> backward, clip, step -> teacher EMA -> centre

In distillation a frozen teacher provides the targets; the EMA of the student is still measured and saved.

Shapes: V all views, G global views, B images, K prototypes.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
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
from dinocli.engine.distributed import World, all_reduce_sum
from dinocli.engine.objective import LossTerms, Objective
from dinocli.engine.optim import Updater
from dinocli.engine.precision import Precision
from dinocli.engine.step_schedule import StepSchedule
from dinocli.engine.warmup import HeadWarmup
from dinocli.models.frozen_teacher import FrozenTeacher
from dinocli.models.head import DinoNetwork


@dataclass
class Learner:
    """State of the training: everything that a step reads or changes.

    Args:
        student: Backbone and head that are trained.
        teacher: EMA of the student.
        replica: The student, or its DDP wrapper.
        center_K: Centre of the teacher's logits.
        updater: Optimizer of the student.
        objective: DINO loss and additional losses.
        multicrop: Augmentation.
        schedule: Learning rates, weight decay, temperatures and momentum by step.
        warmup: Ends the head warm-up.
        trainable: Names of the trained backbone parameters.
        precision: Device, precision and kernels.
        world: The process group.
        batch_size: Images per step, over all processes and slices.
        seed: Seed of stochastic depth.
        frozen_teacher: Provides the targets in distillation; None if the EMA does.
        compilation: Set by `dinocli.engine.compilation`.
    """

    student: DinoNetwork
    teacher: DinoNetwork
    replica: nn.Module
    center_K: Tensor
    updater: Updater
    objective: Objective
    multicrop: MultiCrop
    schedule: StepSchedule
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


def train_step(learner: Learner, slices: Sequence[Batch], step: int) -> Tensor:
    """Take one optimizer step on one batch.

    The batch comes in slices (gradient accumulation), and each process has a part of it. Centre, EMA and schedules are
    updated once per step, so that slices and processes do not change the result.

    Args:
        learner: Changed in place.
        slices: Slices of this process, of equal size.
        step: Number of steps taken before.

    Returns:
        Metrics on the device, (N,); reading them synchronises. Loss, mean entropy of the targets, entropy of the mean
        target (nats), gradient norm, 1 if it is finite, the additional losses, and in float16 the factor of the
        gradient scaler.
    """
    now = learner.schedule.at(step)
    learner.updater.prepare(now)
    terms = []
    for number, batch in enumerate(slices):
        place = {"step": step, "start": batch.start, "global_batch": learner.batch_size}
        with record_function("multi-crop"):
            views = learner.multicrop(batch.pixels_BCHW, batch.sizes_B2, batch.rows, **place)
        global_views = views[0][: GLOBAL_VIEWS * len(batch.sizes_B2)]
        with record_function("teacher"), learner.precision.autocast(), torch.no_grad():
            teacher = learner.targets([global_views], GLOBAL_VIEWS, learner.objective.wants_teacher_patches)
            anchor = learner.objective.anchor_output(global_views)
        with _gradient_sync(learner, last=number == len(slices) - 1):
            with record_function("student"), learner.precision.autocast(), _seeded(learner, step, number):
                student = learner.replica(views, learner.multicrop.count, learner.objective.wants_patches)
            with record_function("loss"):
                loss, slice_terms = learner.objective(student, teacher, anchor, learner.center_K, batch.rows, now)
            with record_function("backward"):
                learner.updater.backward(loss / len(slices))
        terms.append(slice_terms)
    with record_function("optimizer"):
        grad_norm, finite = learner.updater.step(now)
    with record_function("average"):
        update_teacher(learner.teacher.parameters(), learner.student.parameters(), now.momentum)
    if learner.frozen_teacher:
        copy_buffers(learner.teacher, learner.student)
    total = _reduced(terms, learner.world)
    count, momentum = GLOBAL_VIEWS * learner.batch_size, learner.schedule.center_momentum
    center_K = updated_center(learner.center_K, total.logits_sum_K, count, momentum)
    learner.center_K = torch.where(finite, center_K, learner.center_K)
    metrics = [total.loss, total.entropy, marginal_entropy(total.probs_sum_K), grad_norm, finite.float()]
    return torch.stack([*metrics, *total.extras_E, *learner.updater.loss_scale()])


def _reduced(terms: Sequence[LossTerms], world: World) -> LossTerms:
    """Reduce the terms over slices and processes in one all-reduce: average means, add sums."""
    total = LossTerms(*(reduce(torch.add, values) for values in zip(*terms, strict=True)))
    share = 1.0 / (len(terms) * world.size)
    means = torch.stack([total.loss, total.entropy]) * share
    packed = torch.cat([means, total.extras_E * share, total.logits_sum_K, total.probs_sum_K])
    all_reduce_sum(packed)
    sizes = [2 + len(total.extras_E), len(total.logits_sum_K), len(total.probs_sum_K)]
    averages, logits_sum_K, probs_sum_K = torch.split(packed, sizes)
    return LossTerms(averages[0], averages[1], averages[2:], logits_sum_K, probs_sum_K)


def _gradient_sync(learner: Learner, *, last: bool) -> contextlib.AbstractContextManager[None]:
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
