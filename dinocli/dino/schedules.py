"""Schedules as pure functions of the step: a resumed run needs no scheduler state."""

import math


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """Return the value at `step` of a cosine from `start` at step 0 to `end` at step `steps`, constant afterwards.

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983, without restarts.
    """
    done = min(max(step / steps, 0.0), 1.0) if steps > 0 else 1.0
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * done))


def linear(step: int, steps: int, start: float, end: float) -> float:
    """Return the value at `step` of a line from `start` at step 0 to `end` at step `steps`, constant afterwards."""
    done = min(max(step / steps, 0.0), 1.0) if steps > 0 else 1.0
    return start + (end - start) * done


def warmup_cosine(step: int, *, begin: int, warmup: int, steps: int, peak: float, end: float) -> float:
    """Return 0 until `begin`, a linear warm-up to `peak` over `warmup` steps, then a cosine to `end` at `steps`.

    The first step of the warm-up is above 0 (peak / warmup), so that no step is wasted.

    Args:
        step: Current step, from 0.
        begin: First step of the warm-up.
        warmup: Steps of the warm-up; 0 starts at the peak.
        steps: Steps of the run.
        peak: Value after the warm-up.
        end: Value at the end of the run.
    """
    if step < begin:
        return 0.0
    if step < begin + warmup:
        return peak * (step - begin + 1) / warmup
    return cosine(step - begin - warmup, steps - begin - warmup, peak, end)
