"""The verdict of a run: whether the adapted weights are better than the start, and which to keep, in one sentence.

Shapes: N probe images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.bootstrap import Difference, paired_bootstrap
from dinocli.quality.probe_scores import Scores
from dinocli.quality.selection_score import CROP_QUADRANT, SelectionScore

Part = Literal["batch-norm statistics", "training"]
Values = NDArray[np.float64]

# A score below this share of its start is a collapse: half of the spread or of the dimensions are gone.
_COLLAPSE = 0.5

# Even if all of 5 images improve, chance does that in 2 * 0.5^5 = 6 % of all cases; with 6 it is 3 %.
_FEWEST_PAIRS = 6

# Of synthetic defects: with fewer, a kind has hardly more images than the five that are learnt from.
_FEWEST_DEFECTS = 40

# Of synthetic defects, beyond which the whole interval has to lie. Other statistics have learnt nothing, so that little
# is too much; a network that learns to tell images apart may lose two points and serve better.
STATISTICS_MARGIN, DEFECTS_MARGIN = 0.01, 0.03

LOST = "Significant decrease in synthetic-defect few-shot"


@dataclass(frozen=True)
class Gain:
    """What one part of a run did to the selection score.

    Args:
        part: Of the run.
        change: Mean over images, with its interval.
    """

    part: Part
    change: Difference

    def __str__(self) -> str:
        """Say what the part did, and where that is no more than chance."""
        chance = self.change.low <= 0 <= self.change.high
        return f"{self.part} {self.change}{' (not significant)' if chance else ''}"


@dataclass(frozen=True)
class Verdict:
    """Whether a run helped.

    Args:
        outcome: Of the adapted weights compared with the start.
        keep: The weights to use: `statistics` is the start with adapted batch-norm statistics and no training.
        reason: The decision and its numbers, one sentence.
        summary: The same for readers who do not know the score, one sentence; empty where nothing can be said.
        gains: What each part of the run contributed, in the order of the run; empty where nothing can be said.
    """

    outcome: Literal["better", "no different", "worse"]
    keep: Literal["adapted", "statistics", "start"]
    reason: str
    summary: str = ""
    gains: tuple[Gain, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything it says: for everyone, the decision with its numbers, and what each part contributed."""
        return tuple(filter(None, (self.summary, f"{self.outcome.capitalize()}: {self.reason}", self.parts)))

    @property
    def parts(self) -> str:
        """Say in one sentence what each part contributed; empty unless there are two."""
        if len(self.gains) < 2:
            return ""
        return f"By part: {'; '.join(map(str, self.gains))}."


def judge(
    start: Scores,
    end: Scores,
    start_N: Values,
    end_N: Values,
    *,
    defects: Sequence[Values] = (),
    same_network: bool = True,
    score: SelectionScore = CROP_QUADRANT,
) -> Verdict:
    """Say whether the adapted weights are better than the start, and which to keep.

    Worse: features are not finite, feature std or RankMe fell below half of the start, the selection score is
    significantly lower, or synthetic defects are lost (`defects_lost`). Better: the selection score is significantly
    higher, and none of these. Otherwise no different, and the start is kept: weights that were tested by many beat new
    ones that show no gain. Significant means that the 95 % interval of the paired difference excludes 0.

    Known weakness: every label-free score rewards something else than what the user wants to know. Finding one quadrant
    of an image by another rewards what the whole image shares; synthetic defects are not the user's. Where labels
    exist, a score that uses them has the last word (`dinocli.quality.knn`).

    Args:
        start: Scores of the weights that the run began with.
        end: Scores of the adapted weights, on the same images and crops.
        start_N: The selection score by the start, one value per image.
        end_N: The same by the adapted weights, the same images in the same order.
        defects: Synthetic-defect few-shot of each image, as `defects_lost` takes it; empty where it was not measured.
        same_network: Both have the same architecture. If not, spread and dimensions do not compare, and only values
            that are not finite are a collapse.
        score: Which score that is: crop/quadrant retrieval of `measure`, or, where a frozen teacher taught, the
            neighbours shared with it.

    Returns:
        Outcome, weights to keep, reason and summary.
    """
    summary = summarize(start, end) if score == CROP_QUADRANT else shared_summary(start_N, end_N)
    if collapse := _collapse(start, end, same_network=same_network):
        return Verdict("worse", "start", collapse, summary)
    if len(start_N) < _FEWEST_PAIRS:
        few = f"{len(start_N)} probe images are too few to tell a difference from chance"
        return Verdict("no different", "start", f"{few} ({_FEWEST_PAIRS} are needed).", summary)
    change = paired_bootstrap(start_N, end_N)
    trend = "increase" if change.low > 0 else "decrease" if change.high < 0 else ""
    what = f"Significant {trend} in" if trend else "No significant change in"
    numbers = (
        f"({change}); {score.mean} from {start_N.mean():.3f} to {end_N.mean():.3f}, feature std from "
        f"{start.feature_std:.3f} to {end.feature_std:.3f}, RankMe from {start.rankme:.1f} to {end.rankme:.1f}"
    )
    reason = f"{what} {score.name} {numbers}."
    lost = defects_lost(*defects) if defects else ""
    if lost:
        return Verdict("worse", "start", f"{lost} {reason}", summary)
    if trend == "decrease":
        return Verdict("worse", "start", reason, summary)
    if trend == "increase":
        return Verdict("better", "adapted", reason, summary)
    return Verdict("no different", "start", reason, summary)


def defects_lost(start_N: Values, end_N: Values, statistics_N: Values | None = None) -> str:
    """Say in one sentence that synthetic defects are noticed less often than by the start; empty if not.

    So it is where the whole 95 % interval of the difference lies below minus three points; or, by the start with the
    batch-norm statistics of the adapted weights, below minus one point, if training has not made up for it (the adapted
    weights' interval lies below 0).

    Args:
        start_N: Of each image by the start, from `dinocli.quality.defect_few_shot`; not a number where an image was not
            tested.
        end_N: By the adapted weights, the same images in the same order.
        statistics_N: By the start with the statistics of the adapted weights; None where they did not change, or where
            it was not measured.
    """
    rows = [start_N, end_N, *([] if statistics_N is None else [statistics_N])]
    tested = np.isfinite(rows).all(axis=0)
    if tested.sum() < _FEWEST_DEFECTS:
        return ""
    start, end, *statistics = (values_N[tested] for values_N in rows)
    change, *before = (paired_bootstrap(start, values) for values in (end, *statistics))
    by_statistics = change.high < 0 and any(part.high < -STATISTICS_MARGIN for part in before)
    if change.high >= -DEFECTS_MARGIN and not by_statistics:
        return ""
    also = f"; by batch-norm statistics alone {before[0]}" if by_statistics and before[0] != change else ""
    by_all = change.high < -DEFECTS_MARGIN
    limit = f"limit {-DEFECTS_MARGIN}" if by_all else f"limit for batch-norm statistics {-STATISTICS_MARGIN}"
    return (
        f"{LOST} ({change}{also}; {limit}): from five examples, an image with a defect is told from one without in "
        f"{end.mean():.1%} of cases instead of {start.mean():.1%}."
    )


def gain(part: Part, before_N: Values, after_N: Values) -> Gain:
    """Measure what one part of a run did.

    Args:
        part: Of the run.
        before_N: The selection score by the weights before it.
        after_N: By the weights after it, the same images in the same order.
    """
    return Gain(part, paired_bootstrap(before_N, after_N))


def summarize(start: Scores, end: Scores) -> str:
    """Say in one sentence what changed, by the share of crops whose nearest image is their own."""
    if not (start.finite and end.finite):
        return ""
    before, after = (f"{100 * scores.retrieval_top1:.0f} %" for scores in (start, end))
    if before == after:
        return f"A crop finds its image in {after} of cases, as before."
    return f"A crop finds its image in {after} of cases instead of {before}."


def shared_summary(start_N: Values, end_N: Values) -> str:
    """Say in one sentence how much of a frozen teacher a student has taken over."""
    if not (np.isfinite(start_N).all() and np.isfinite(end_N).all()):
        return ""
    before, after = (f"{100 * values_N.mean():.0f} %" for values_N in (start_N, end_N))
    return f"Of the teacher's ten nearest neighbours of an image the student has {after}; at the start it had {before}."


def _collapse(start: Scores, end: Scores, *, same_network: bool) -> str:
    """Return a sentence about values that are not finite or a collapse, empty if there is none."""
    if not end.finite:
        return "The adapted network gives features that are not finite."
    for name, before, after in (
        ("Feature std (spread of the features)", start.feature_std, end.feature_std),
        ("RankMe (number of dimensions in use)", start.rankme, end.rankme),
    ):
        if same_network and after < _COLLAPSE * before:
            return f"{name} fell to {after / before:.0%} of the start, from {before:.4g} to {after:.4g}: a collapse."
    return ""
