"""Collapse: its criteria, the best probe result of a run, and advice for each reason to stop."""

from collections.abc import Sequence
from typing import Any, Literal

from dinocli.quality.probe_result import ProbeResult

UNIFORM_ENTROPY, UNIFORM_KL = 0.98, 0.01
ONE_HOT_ENTROPY, ONE_HOT_MARGINAL = 0.02, 0.1
"""Shares of ln K: a uniform output has a higher entropy and a lower KL, a one-hot output lower entropies."""

MIN_SCORE_SHARE = {"feature_std": 0.25, "rankme": 0.5}
"""Share of the largest earlier probe score below which the features have collapsed."""

Row = dict[str, Any]
"""Metrics of one step, a line of `metrics.jsonl`."""


def output_collapse(row: Row, log_k: float) -> Literal["uniform", "one-hot"] | None:
    """Return how the outputs of a step have collapsed, if they have.

    Args:
        row: Metrics of the step; entropies as shares of ln K.
        log_k: ln K, nats.
    """
    if row["entropy"] > UNIFORM_ENTROPY and row["kl"] / log_k < UNIFORM_KL:
        return "uniform"
    if row["entropy"] < ONE_HOT_ENTROPY and row["marginal_entropy"] < ONE_HOT_MARGINAL:
        return "one-hot"
    return None


def feature_collapse(results: Sequence[ProbeResult]) -> str:
    """Return the reason to stop if the features have collapsed: two probes in a row are below the limits."""
    if len(results) < 3:
        return ""
    *earlier, before, last = results
    reason = "" if last.scores.finite else "the teacher gives features that are not finite"
    for name, share in MIN_SCORE_SHARE.items():
        highest = max(getattr(result.scores, name) for result in earlier)
        if getattr(before.scores, name) < share * highest > getattr(last.scores, name):
            reason = f"the features collapsed: {name} fell from {highest:.3g} to {getattr(last.scores, name):.3g}"
    return reason


def best_of(results: Sequence[ProbeResult]) -> ProbeResult | None:
    """Return the adapted probe result with the highest selection score, the latest of equals.

    The first result is the start and no candidate, nor is a result whose RankMe is below half of an earlier one.
    """
    candidates: list[ProbeResult] = []
    for number, result in enumerate(results):
        highest = max((earlier.scores.rankme for earlier in results[:number] if earlier.scores.finite), default=0.0)
        if number and result.scores.finite and result.scores.rankme >= MIN_SCORE_SHARE["rankme"] * highest:
            candidates.append(result)
    return max(reversed(candidates), key=lambda result: result.selection_score, default=None)


ADVICE = {
    "finite": "lower the learning rate (--set optim.lr=...) or, in half precision, set run.precision=fp32",
    "uniform": "lower the teacher's temperature (--set dino.teacher_temp=0.03) or the learning rate",
    "one-hot": "raise the teacher's temperature or lower its momentum (--set dino.teacher_momentum=0.99)",
    "features": "lower the learning rate (--set optim.lr=...) or the number of steps",
}


def advice(stop_reason: str) -> str:
    """Return the advice for a stop reason of the monitor."""
    return next(what for word, what in ADVICE.items() if word in stop_reason)
