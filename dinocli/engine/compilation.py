"""torch.compile of the training step: choice by measured time, and fallback to eager mode if it fails."""

import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dinocli.data.loader import Batch
from dinocli.engine.build import set_stage
from dinocli.engine.distributed import any_rank, from_main
from dinocli.engine.precision import MIN_SPEEDUP
from dinocli.engine.step import Learner, train_step
from dinocli.errors import first_line, is_out_of_memory

COMPILE_SECONDS, MAX_SAVING = 90.0, 0.3
"""Time to compile a ViT, and maximum share of a step that it saves: below break-even it is not tried."""


def compile_learner(learner: Learner) -> None:
    """Compile the student and the network of the targets, with one graph each, and on a GPU the augmentation.

    Not the backbones by themselves: probes call them in eval mode with other image sizes and incomplete batches. Each
    would be compiled for seconds, and torch limits the graphs of one function, shared by all modules, to eight: later
    ones would run without compilation, without a message.
    """
    # Advice of the compiler that users cannot follow, such as TF32 for all products in float32.
    warnings.filterwarnings("ignore", module=r"torch\._(dynamo|functorch|inductor)")
    for network in (learner.student, learner.targets):
        network.compile(dynamic=False)
    if learner.precision.device.type != "cpu":
        learner.multicrop.compile()
    learner.compilation = "on"


def step_with_fallback(
    learner: Learner, slices: Sequence[Batch], step: int, warn: Callable[[str], None] = lambda _: None
) -> Tensor:
    """Take one training step; if its compiled code fails, take it again, and all later ones, without the compiler.

    The second try has the same batch and random numbers, and weights, centre and optimizer change only after all
    compiled code. Statistics of a batch norm that trains may count the batch twice. With several processes a failure is
    raised: the others wait in a reduction that this one would start again.

    Args:
        learner: With or without compiled networks.
        slices: As in `train_step`.
        step: As in `train_step`.
        warn: Receives the reason, once the second try has succeeded.
    """
    if learner.compilation == "failed":
        with torch.compiler.set_stance("force_eager"):
            return train_step(learner, slices, step)
    try:
        return train_step(learner, slices, step)
    except Exception as error:
        if learner.compilation == "off" or learner.world.size > 1 or is_out_of_memory(error):
            raise
        reason = first_line(error)
    learner.compilation = "failed"  # not within the handler, which keeps the tensors of the failed step
    metrics_N = step_with_fallback(learner, slices, step)
    warn(f"step {step + 1}: torch.compile failed, continuing without it: {reason}")
    return metrics_N


def choose_compile(
    setting: bool | str, steps: int, make_trial: Callable[[], Learner], one_step: Callable[[Learner], None]
) -> tuple[bool, str]:
    """Decide whether to compile, collectively over all processes.

    If compilation fails (on a CPU it needs a C++ compiler), the run continues without it.

    Args:
        setting: `run.compile` of the recipe: true, false or auto, which compiles on GPUs only.
        steps: Steps of the run.
        make_trial: Builds a learner for the trial, in the first stage of the run.
        one_step: Takes one training step with a learner.

    Returns:
        The decision, and a line about it or an empty string.
    """
    if not setting:
        return False, ""
    trial = make_trial()
    device, begins_with_head = trial.precision.device, not trial.student.backbone_learns
    if setting == "auto" and device.type != "cuda":
        return False, ""
    if begins_with_head:  # most of the run is in the stage after it
        set_stage(trial, backbone_learns=True)
    plain = _seconds(trial, one_step, device) if setting == "auto" else 0.0
    if setting == "auto" and plain * steps * MAX_SAVING < COMPILE_SECONDS:
        few = f"{steps} steps of {plain:.2g} s are too few for compilation to save time"
        return False, f"{few}; run.compile=true compiles anyway"
    compile_learner(trial)
    begin, reason = time.monotonic(), ""
    try:
        one_step(trial)
        first = time.monotonic() - begin
        compiled = _seconds(trial, one_step, device)
        if begins_with_head:  # each stage has its own graph; this compiles that of the first stage
            set_stage(trial, backbone_learns=False)
            one_step(trial)
    except Exception as error:
        reason = first_line(error)
    if any_rank(bool(reason)):
        return False, f"torch.compile does not work here, continuing without it: {reason or 'another process failed'}"
    if setting == "auto" and compiled * MIN_SPEEDUP > plain:
        return False, f"torch.compile does not make a step faster here ({plain:.2g} s, compiled {compiled:.2g} s)"
    return True, f"compiled in {first:.0f} s: {compiled:.2g} s a step" + (f" instead of {plain:.2g} s" if plain else "")


def _seconds(trial: Learner, one_step: Callable[[Learner], None], device: torch.device) -> float:
    """Return the time of the second of two steps, measured in the main process."""
    one_step(trial)
    _synchronize(device)
    begin = time.monotonic()
    one_step(trial)
    _synchronize(device)
    return from_main(lambda: time.monotonic() - begin)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
