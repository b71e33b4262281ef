"""The verdict of a run: whether the adapted weights are better than the start, and which to keep, in one sentence.

Shapes: N probe images.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.bootstrap import Difference, paired_bootstrap
from dinocli.quality.probe_result import ProbeResult, Scores
from dinocli.quality.selection_score import CROP_QUADRANT, SelectionScore

Part = Literal["batch-norm statistics", "training"]
Values = NDArray[np.float64]

# Feature std or RankMe below this share of the start is a collapse.
_COLLAPSE_SHARE = 0.5

# If all of 5 images improve, p = 2 * 0.5^5 = 6 %; with 6 it is 3 %.
MIN_PAIRS = 6

# Tested images of synthetic defects: with fewer, a kind has hardly more images than its five examples.
_MIN_DEFECTS = 40

# Margins of accuracy of synthetic-defect few-shot: the whole interval must lie below minus the margin. Adapted
# batch-norm statistics train nothing, so they may lose little; a trained network may lose two points and still be the
# better one.
STATISTICS_MARGIN, DEFECTS_MARGIN = 0.01, 0.03

KEPT = {
    "adapted": "the adapted weights",
    "statistics": "the original weights with adapted batch-norm statistics",
    "start": "the original weights",
}
"""Words for the weights that a verdict keeps."""

DEFECT_DECREASE = "Significant decrease in synthetic-defect few-shot"


@dataclass(frozen=True)
class Gain:
    """Change of the selection score by one part of a run.

    Args:
        part: Part of the run.
        change: Mean difference over images, with its interval.
    """

    part: Part
    change: Difference

    def __str__(self) -> str:
        """Return the part and its change, marked if it is not significant."""
        not_significant = self.change.low <= 0 <= self.change.high
        return f"{self.part} {self.change}{' (not significant)' if not_significant else ''}"


@dataclass(frozen=True)
class Verdict:
    """Comparison of adapted weights and start, and which to keep.

    Args:
        outcome: Adapted weights compared with the start.
        keep: The weights to keep: `statistics` is the start with adapted batch-norm statistics and no training.
        reason: The decision and its numbers, one sentence.
        summary: One sentence for readers who do not know the score; empty if there is none.
        gains: Contribution of each part of the run, in the order of the run; empty if it was not measured.
        caution: One sentence if the default feature of `embed` has lost synthetic defects; else empty.
    """

    outcome: Literal["better", "no different", "worse"]
    keep: Literal["adapted", "statistics", "start"]
    reason: str
    summary: str = ""
    gains: tuple[Gain, ...] = ()
    caution: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """All sentences of the verdict: summary, decision with its numbers, contribution of each part, caution."""
        decision = f"{self.outcome.capitalize()}: {self.reason}"
        return tuple(filter(None, (self.summary, decision, self.parts, self.caution)))

    @property
    def parts(self) -> str:
        """One sentence about the contribution of each part; empty unless there are two."""
        if len(self.gains) < 2:
            return ""
        return f"By part: {'; '.join(map(str, self.gains))}."


def judge(
    start: ProbeResult,
    adapted: ProbeResult,
    statistics: ProbeResult | None = None,
    *,
    same_network: bool = True,
    score: SelectionScore = CROP_QUADRANT,
) -> Verdict:
    """Compare the adapted weights with the start, and decide which to keep.

    Worse: non-finite features, feature std or RankMe below half of the start, a significantly lower selection score, or
    lost synthetic defects (`defects_lost`). Better: a significantly higher selection score, and none of these.
    Otherwise no different, and the start is kept, as the better tested weights. Significant means that the 95 %
    interval of the paired difference excludes 0.

    Known weakness: a label-free score is a proxy of the user's task. Quadrant retrieval rewards features that a whole
    image shares, and synthetic defects differ from the user's. If there are labels, scores with labels decide
    (`dinocli.quality.knn`).

    Args:
        start: Measurement of the start weights.
        adapted: Measurement of the adapted weights, on the same images and crops.
        statistics: Measurement of the start with adapted batch-norm statistics, on the same images; None if these did
            not change or were not measured.
        same_network: Both have the same architecture. If not, spread and rank are not comparable, and only non-finite
            features are a collapse.
        score: The selection score: crop/quadrant retrieval of `measure`, or the neighbours shared with a frozen
            teacher.

    Returns:
        Outcome, weights to keep, reason and summary.
    """
    crops = score == CROP_QUADRANT
    summary = summarize(start.scores, adapted.scores) if crops else shared_summary(start.values_N, adapted.values_N)
    if collapse := _collapse(start.scores, adapted.scores, same_network=same_network):
        return Verdict("worse", "start", collapse, summary)
    if len(start.values_N) < MIN_PAIRS:
        few = f"{len(start.values_N)} probe images are too few to tell a difference from chance"
        return Verdict("no different", "start", f"{few} ({MIN_PAIRS} are needed).", summary)
    change = paired_bootstrap(start.values_N, adapted.values_N)
    trend = "increase" if change.low > 0 else "decrease" if change.high < 0 else ""
    what = f"Significant {trend} in" if trend else "No significant change in"
    before, after = start.scores, adapted.scores
    reason = (
        f"{what} {score.name} ({change}); {score.mean} from {start.selection_score:.3f} to "
        f"{adapted.selection_score:.3f}, feature std from {before.feature_std:.3f} to {after.feature_std:.3f}, RankMe "
        f"from {before.rankme:.1f} to {after.rankme:.1f}."
    )
    if lost := defects_lost(start, adapted, statistics):
        return Verdict("worse", "start", f"{lost} {reason}", summary)
    if trend == "decrease":
        return Verdict("worse", "start", reason, summary)
    if trend == "increase":
        return Verdict("better", "adapted", reason, summary, caution=_caution(start, adapted))
    return Verdict("no different", "start", reason, summary)


def defects_lost(start: ProbeResult, adapted: ProbeResult, statistics: ProbeResult | None = None) -> str:
    """Return a sentence if the accuracy on synthetic defects fell significantly, else an empty string.

    Criterion: the whole 95 % interval of the difference adapted - start lies below minus three points; or that of the
    start with adapted batch-norm statistics lies below minus one point, and training has not compensated it (the
    interval of the adapted weights lies below 0). Without measured defects there is no loss.

    Args:
        start: Measurement of the start weights.
        adapted: Measurement of the adapted weights, on the same images.
        statistics: Measurement of the start with adapted batch-norm statistics, as for `judge`.
    """
    measured = [start.defects_N, adapted.defects_N, *([statistics.defects_N] if statistics else [])]
    tested = np.isfinite(measured).all(axis=0)
    if tested.sum() < _MIN_DEFECTS:
        return ""
    start_N, adapted_N, *statistics_N = (defects_N[tested] for defects_N in measured)
    change, *by_part = (paired_bootstrap(start_N, defects_N) for defects_N in (adapted_N, *statistics_N))
    by_statistics = change.high < 0 and any(part.high < -STATISTICS_MARGIN for part in by_part)
    if change.high >= -DEFECTS_MARGIN and not by_statistics:
        return ""
    also = f"; by batch-norm statistics alone {by_part[0]}" if by_statistics and by_part[0] != change else ""
    by_all = change.high < -DEFECTS_MARGIN
    limit = f"limit {-DEFECTS_MARGIN}" if by_all else f"limit for batch-norm statistics {-STATISTICS_MARGIN}"
    return (
        f"{DEFECT_DECREASE} ({change}{also}; {limit}): from five examples, an image with a defect is told from one "
        f"without in {100 * adapted_N.mean():.1f} % of cases instead of {100 * start_N.mean():.1f} %."
    )


def _caution(start: ProbeResult, adapted: ProbeResult) -> str:
    lost = rare_defects_lost(start, adapted)
    return f"{lost} Compare start and adapted weights by your labels, or embed with --tokens pooled." if lost else ""


def rare_defects_lost(before: ProbeResult, adapted: ProbeResult, which: str = "") -> str:
    """Return a sentence if synthetic defects are significantly lost with `pooled+rare`, by more than a point.

    Training optimises the pooled feature, from which the selection score is computed too. The rare patches, which
    `embed` adds by default, can get worse meanwhile.

    Args:
        before: Measurement of the start weights, or of these with adapted batch-norm statistics.
        adapted: Measurement of the adapted weights, on the same images.
        which: Words for the weights before, if they are not the start: `with ...`.
    """
    measured = (before.rare_defects_N, adapted.rare_defects_N)
    tested = np.isfinite(measured).all(axis=0)
    if tested.sum() < _MIN_DEFECTS:
        return ""
    change = paired_bootstrap(*(defects_N[tested] for defects_N in measured))
    if change.high >= -STATISTICS_MARGIN:
        return ""
    return (
        "With pooled+rare, the default feature of embed, synthetic defects are noticed in "
        f"{100 * adapted.rare_defect_score:.1f} % of cases instead of {100 * before.rare_defect_score:.1f} %"
        f"{f' {which}' if which else ''} ({change})."
    )


def gain(part: Part, before: ProbeResult, after: ProbeResult) -> Gain:
    """Return the change of the selection score by one part of a run.

    Args:
        part: Part of the run.
        before: Measurement of the weights before it.
        after: Measurement of the weights after it, on the same images.
    """
    return Gain(part, paired_bootstrap(before.values_N, after.values_N))


def summarize(start: Scores, end: Scores) -> str:
    """Return one sentence about top-1 retrieval of crops; empty if a score is not finite."""
    if not (start.finite and end.finite):
        return ""
    before, after = (f"{100 * scores.retrieval_top1:.0f} %" for scores in (start, end))
    if before == after:
        return f"A crop finds its image in {after} of cases, as before."
    return f"A crop finds its image in {after} of cases instead of {before}."


def shared_summary(start_N: Values, end_N: Values) -> str:
    """Return one sentence about the neighbours shared with a frozen teacher; empty if a value is not finite."""
    if not (np.isfinite(start_N).all() and np.isfinite(end_N).all()):
        return ""
    before, after = (f"{100 * values_N.mean():.0f} %" for values_N in (start_N, end_N))
    return f"Of the teacher's ten nearest neighbours of an image the student has {after}; at the start it had {before}."


def _collapse(start: Scores, end: Scores, *, same_network: bool) -> str:
    """Return a sentence about non-finite features or a collapse; empty if there is none."""
    if not end.finite:
        return "The adapted network gives features that are not finite."
    for name, before, after in (
        ("Feature std (spread of the features)", start.feature_std, end.feature_std),
        ("RankMe (number of dimensions in use)", start.rankme, end.rankme),
    ):
        if same_network and after < _COLLAPSE_SHARE * before:
            return f"{name} fell to {after / before:.0%} of the start, from {before:.4g} to {after:.4g}: a collapse."
    return ""
