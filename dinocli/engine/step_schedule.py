"""Schedules of a run: learning rates, weight decay, temperatures, momentum, trained parts."""

from dataclasses import dataclass
from functools import partial

from dinocli.config.recipe import Recipe
from dinocli.dino.schedules import cosine, linear, warmup_cosine


@dataclass(frozen=True)
class StepValues:
    """Values of the schedules at one step.

    Args:
        lr: Learning rate of the backbone; 0 during the head warm-up.
        head_lr: Learning rate of the head.
        weight_decay: Weight decay of the parameters to which it applies.
        student_temp: Softmax temperature of the student.
        teacher_temp: Softmax temperature of the teacher.
        momentum: EMA momentum of the teacher after this step.
        backbone_learns: False during the head warm-up.
        prototypes_learn: False while the last layer is frozen at the start.
    """

    lr: float
    head_lr: float
    weight_decay: float
    student_temp: float
    teacher_temp: float
    momentum: float
    backbone_learns: bool
    prototypes_learn: bool


class StepSchedule:
    """All schedules of a resolved recipe as one pure function of the step.

    Every length is a fraction of the run and leaves at least one step. Only `head_warmup` can change: `HeadWarmup` may
    shorten it once.

    Args:
        recipe: Resolved recipe, without "auto" in the used settings.
    """

    def __init__(self, recipe: Recipe) -> None:
        optim, dino = recipe.optim, recipe.dino
        self.steps = int(recipe.run.steps)
        self.head_warmup = self._part(float(optim.head_warmup))
        self.lr_warmup = self._part(optim.lr_warmup)
        self.temp_warmup = self._part(dino.teacher_temp_warmup)
        self.last_layer_freeze = self._part(optim.freeze_last_layer)
        self.center_momentum = dino.center_momentum
        self._optim, self._dino = optim, dino

    def _part(self, fraction: float) -> int:
        return min(round(fraction * self.steps), self.steps - 1)

    def at(self, step: int) -> StepValues:
        """Return the values at a step, from 0."""
        optim, dino, steps = self._optim, self._dino, self.steps
        lr, head_lr = float(optim.lr), float(optim.head_lr)
        lr_schedule = partial(warmup_cosine, step, warmup=self.lr_warmup, steps=steps)
        return StepValues(
            lr=lr_schedule(begin=self.head_warmup, peak=lr, end=min(optim.min_lr, lr)),
            head_lr=lr_schedule(begin=0, peak=head_lr, end=min(optim.min_lr, head_lr)),
            weight_decay=cosine(step, steps, optim.weight_decay, float(optim.weight_decay_end)),
            student_temp=dino.student_temp,
            teacher_temp=linear(step, self.temp_warmup, dino.warmup_teacher_temp, dino.teacher_temp),
            momentum=cosine(step, steps, float(dino.teacher_momentum), dino.teacher_momentum_end),
            backbone_learns=step >= self.head_warmup,
            prototypes_learn=step >= self.last_layer_freeze,
        )
