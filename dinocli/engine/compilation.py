"""torch.compile: what of a run is compiled, and whether that pays within the run."""

import time
from collections.abc import Callable

import torch

from dinocli.engine.device import WORTH_IT
from dinocli.engine.distributed import any_rank, from_main
from dinocli.engine.step import Learner

COSTS, SAVES = 90.0, 0.3
"""Seconds that compiling a ViT takes, and the share of a step that it may save: below that it is not even tried."""


def compile_learner(learner: Learner) -> None:
    """Compile both backbones, each resolution a graph of its own, and on a GPU the views."""
    for network in (learner.student, learner.teacher):
        network.backbone.compile(dynamic=False)
    if learner.precision.device.type != "cpu":
        learner.views.compile()


def settle_compile(
    asked: bool | str, steps: int, make_trial: Callable[[], Learner], one_step: Callable[[Learner], None]
) -> tuple[bool, str]:
    """Decide whether to compile; several processes decide the same.

    Where it was asked for and fails (on a CPU it needs a C++ compiler on the user's machine), plain execution goes on.

    Args:
        asked: Of the recipe: true, false or auto, which is for GPUs.
        steps: Of the run.
        make_trial: Builds a learner to try it with.
        one_step: Takes one step with it.

    Returns:
        The decision, and a line about it or an empty string.
    """
    if not asked:
        return False, ""
    trial = make_trial()
    device = trial.precision.device
    if asked == "auto" and device.type != "cuda":
        return False, ""
    plain = _seconds(trial, one_step, device) if asked == "auto" else 0.0
    if asked == "auto" and plain * steps * SAVES < COSTS:
        return (
            False,
            f"{steps} steps of {plain:.2g} s are too few to compile for; run.compile=true does it anyway",
        )
    compile_learner(trial)
    begin, reason = time.monotonic(), ""
    try:
        one_step(trial)
        first = time.monotonic() - begin
        compiled = _seconds(trial, one_step, device)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if any_rank(bool(reason)):
        return False, f"torch.compile does not work here, continuing without it: {reason or 'another process failed'}"
    if asked == "auto" and compiled * WORTH_IT > plain:
        return False, f"torch.compile makes no step faster here ({plain:.2g} s, compiled {compiled:.2g} s)"
    return True, f"compiled in {first:.0f} s: {compiled:.2g} s a step" + (f" instead of {plain:.2g} s" if plain else "")


def _seconds(trial: Learner, one_step: Callable[[Learner], None], device: torch.device) -> float:
    """Time a step after another one, as the main process sees it."""
    one_step(trial)
    _wait(device)
    begin = time.monotonic()
    one_step(trial)
    _wait(device)
    return from_main(lambda: time.monotonic() - begin)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
