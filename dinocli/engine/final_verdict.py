"""Verdict of a whole run, from the probes of its start and its end: also of one that was stopped or found nothing."""

from dataclasses import replace
from typing import Literal

from dinocli.engine.loop import RunResult
from dinocli.quality.probe_result import ProbeResult
from dinocli.quality.selection_score import CROP_QUADRANT, SelectionScore
from dinocli.quality.verdict import Verdict, gain, judge


def unusable(start: ProbeResult, last: ProbeResult, score: SelectionScore = CROP_QUADRANT) -> Verdict:
    """Judge training of which no probe was a candidate (`collapse.best_of`): the start is kept.

    Args:
        start: First probe result of the guard.
        last: Last one.
        score: Selection score of the run.
    """
    verdict = judge(start, last, score=score)
    if verdict.outcome == "worse":
        return verdict
    lost = f"RankMe fell below half of an earlier probe, to {last.scores.rankme:.1f}: a collapse."
    return replace(verdict, outcome="worse", keep="start", reason=lost)


def final_verdict(
    result: RunResult,
    start: ProbeResult,
    statistics: ProbeResult | None,
    adapted: ProbeResult,
    score: SelectionScore = CROP_QUADRANT,
) -> Verdict:
    """Judge the adapted weights against the start; a run that the guard stopped keeps the start.

    Args:
        result: Result of the training loop.
        start: Probe result of the start weights on the images of the verdict.
        statistics: Probe result of the start with the adapted batch-norm statistics, on the same images and crops; None
            if the statistics did not change, or nothing else did.
        adapted: Probe result of the adapted weights, on the same images and crops.
        score: Selection score of the run.
    """
    if result.stop_reason:
        return Verdict("worse", "start", f"The guard stopped the run at step {result.steps}: {result.stop_reason}.")
    verdict = judge(start, adapted, statistics or (None if adapted.step else adapted), score=score)
    if not adapted.scores.finite:
        return verdict
    if statistics:
        between = gain("batch-norm statistics", start, statistics)
        return replace(verdict, gains=(between, gain("training", statistics, adapted)))
    if adapted.step:
        return replace(verdict, gains=(gain("training", start, adapted),))
    # No step was better than the statistics before the first one.
    keep: Literal["statistics", "start"] = "statistics" if verdict.keep == "adapted" else "start"
    return replace(verdict, keep=keep, gains=(gain("batch-norm statistics", start, adapted),))


def student_kept(verdict: Verdict) -> Verdict:
    """Keep a student trained from random weights also if no difference was found: random weights are of no use."""
    return replace(verdict, keep="adapted") if verdict.outcome == "no different" else verdict
