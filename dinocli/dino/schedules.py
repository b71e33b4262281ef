"""Values as pure functions of the step: a resumed run needs no scheduler state, and no length can be negative."""

import math


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """Go from `start` at step 0 to `end` at step `steps` along half a cosine, and stay there.

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983, without restarts.
    """
    done = min(max(step / steps, 0.0), 1.0) if steps > 0 else 1.0
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * done))


def linear(step: int, steps: int, start: float, end: float) -> float:
    """Go from `start` at step 0 to `end` at step `steps` in a straight line, and stay there."""
    done = min(max(step / steps, 0.0), 1.0) if steps > 0 else 1.0
    return start + (end - start) * done


def warmup_cosine(step: int, *, begin: int, warmup: int, steps: int, peak: float, end: float) -> float:
    """Stay at 0 until `begin`, rise to `peak` over `warmup` steps, then decay to `end` at `steps` along a cosine.

    The first step of the warm-up is already above 0 (peak / warmup), so that no step is wasted.

    Args:
        step: Now, counted from 0.
        begin: First step that learns.
        warmup: Steps of the rise; 0 starts at the peak.
        steps: Steps of the whole run.
        peak: Value after the rise.
        end: Value at the end of the run.
    """
    if step < begin:
        return 0.0
    if step < begin + warmup:
        return peak * (step - begin + 1) / warmup
    return cosine(step - begin - warmup, steps - begin - warmup, peak, end)
