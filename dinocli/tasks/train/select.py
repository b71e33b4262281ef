"""Select weights: the best step, interpolated with the start, and compared with the start on held-out images."""

import copy
from dataclasses import dataclass
from pathlib import Path

from dinocli.engine.checkpoint import load_checkpoint
from dinocli.engine.final_verdict import student_kept, unusable
from dinocli.engine.holdout_comparison import HoldoutComparison, measured
from dinocli.engine.loop import RunResult
from dinocli.engine.probe import Probe
from dinocli.engine.run_seconds import PAGE_FORWARDS
from dinocli.engine.start_shift import shift_of
from dinocli.models.backbone import Backbone
from dinocli.models.weight_interpolation import interpolated
from dinocli.quality.near_start import near_start
from dinocli.quality.probe_result import ProbeResult
from dinocli.quality.verdict import Verdict
from dinocli.report.adapted_comparison import NOTHING, Sides
from dinocli.report.score_lines import ScoreLine, label_lines, score_lines
from dinocli.stored import reading
from dinocli.tasks.train.budget import TrainPlan
from dinocli.tasks.train.train_context import TrainContext

MIN_LABELLED = 50
"""Minimum number of labelled images for which the rest of `--minutes` is spent."""


@dataclass(frozen=True)
class Trained:
    """Result of training.

    Args:
        result: Result of the training loop.
        best: Checkpoint with the highest selection score; it may not exist.
        guard_probe: Probe that selects among steps and interpolated weights.
        holdout_probe: Probe on held-out images for the verdict; the guard's if there was nothing to select among.
        seconds_per_forward: Seconds of a forward pass of one image, measured at the start.
    """

    result: RunResult
    best: Path
    guard_probe: Probe
    holdout_probe: Probe
    seconds_per_forward: float


@dataclass(frozen=True)
class Selection:
    """Selected weights, and the measurements behind the verdict.

    Args:
        verdict: Outcome and weights to keep.
        adapted: Adapted weights.
        best_step: Step of the adapted weights.
        alpha: Weight of the adapted weights in the interpolation with the start; 1 means no interpolation.
        tried: (alpha, selection score) of each tried interpolation; alpha 0 is the start.
        lines: Label-free scores of all stages.
        labelled: Scores by the user's labels; empty without labels.
        after: Probe result of the adapted weights on the images of the verdict.
        sides: Features of start and adapted weights on the images of the verdict.
        neighbours: Features for pictures of neighbours: on the labelled images if these are more.
        judged: Description of the images of the verdict.
    """

    verdict: Verdict
    adapted: Backbone
    best_step: int
    alpha: float
    tried: list[tuple[float, float]]
    lines: list[ScoreLine]
    labelled: list[ScoreLine]
    after: ProbeResult
    sides: Sides
    neighbours: Sides
    judged: str

    @property
    def best_alpha(self) -> float:
        """Alpha with the highest selection score; 1 if none was tried."""
        return max(self.tried[1:], key=lambda pair: (pair[1], pair[0]), default=(1.0, 0.0))[0]


def select(context: TrainContext, plan: TrainPlan, trained: Trained) -> Selection:
    """Select the adapted weights by the guard's probe, and compare them with the start by the held-out probe."""
    result, probe = trained.result, trained.holdout_probe
    best = result.best
    if not best and len(result.probe_results) > 1 and not result.stop_reason:
        return _nothing_usable(context, trained)
    adapted, alpha, tried = context.backbone, 1.0, list[tuple[float, float]]()
    if best:
        adapted = adapted_backbone(context.backbone, trained.best, probe)
    if best and not result.stop_reason:
        adapted, alpha, tried = best_interpolation(context, plan, trained, best, adapted)
    best_step, images = best.step if best else 0, judged_images(trained)
    if best:
        what = f"step {best_step}" if best_step else "adapted batch-norm statistics (no step was better)"
        context.reporter.line(f"comparing {what} with the start on {images}")
    staged = bool(best and best_step and plan.recipe.model.batch_norm == "adapted")
    if not probe.start:  # else the guard has measured both, with nothing to select among
        context.reporter.stage("measuring the verdict", probe.images_per_measurement * (1 + bool(best) + staged))
    start = probe.start or measured(probe, context.backbone, 0)
    comparison = HoldoutComparison(probe, context.backbone, start, result, staged)
    compared = comparison.compare(adapted, alpha)
    compared = compared._replace(verdict=_checked_domain(context, probe, compared.verdict))
    images_left = context.seconds_left() / trained.seconds_per_forward
    lost = comparison.lost_by_training(compared)
    wanted = context.options.recipe.guard.weight_interpolation != [1.0]  # that of the plan may leave it out for time
    if lost and wanted and images_left > comparison.images:
        context.reporter.stage("measuring halfway to the start", comparison.images)
        compared = comparison.halfway(compared, lost)
    verdict = compared.verdict
    if context.teacher and not context.info.pretrained:
        verdict = student_kept(verdict)
    sides = Sides(probe.rows, start.clean_ND, compared.after_ND)
    labelled, labelled_sides = _labelled(context, plan, trained, compared.adapted)
    return Selection(
        verdict=verdict,
        adapted=compared.adapted,
        best_step=best_step,
        alpha=compared.alpha,
        tried=tried,
        lines=score_lines(start.result, compared.statistics, compared.after, probe.score),
        labelled=labelled,
        after=compared.after,
        sides=sides,
        neighbours=max(sides, labelled_sides, key=lambda some: len(some.rows)),
        judged=f"On {images}.",
    )


def _checked_domain(context: TrainContext, probe: Probe, verdict: Verdict) -> Verdict:
    """Keep the start on images that are like those of its weights, unless an earlier run made these."""
    if verdict.outcome == "worse" or context.teacher or not context.info.pretrained or context.own_weights:
        return verdict
    return near_start(verdict, shift_of(context.backbone, probe))


def _nothing_usable(context: TrainContext, trained: Trained) -> Selection:
    """Keep the start of a run of which no probe was a candidate, by the first and the last probe of the guard."""
    probe, (start, *_, last) = trained.guard_probe, trained.result.probe_results
    context.reporter.warn("training gave no usable features")
    return Selection(
        verdict=unusable(start, last, probe.score),
        adapted=context.backbone,
        best_step=last.step,
        alpha=1.0,
        tried=[],
        lines=score_lines(start, None, last, probe.score),
        labelled=[],
        after=last,
        sides=NOTHING,
        neighbours=NOTHING,
        judged=f"On {len(probe.indices)} images of the guard.",
    )


def adapted_backbone(backbone: Backbone, best: Path, probe: Probe) -> Backbone:
    """Load the best checkpoint's weights into a copy of the start."""
    adapted = copy.deepcopy(backbone)
    payload = load_checkpoint(best, probe.loader.device)
    with reading(f"the checkpoint {best}", "delete it to start again", "used"):
        adapted.load_state_dict(payload["backbone"])
    return adapted


def best_interpolation(
    context: TrainContext, plan: TrainPlan, trained: Trained, best: ProbeResult, adapted: Backbone
) -> tuple[Backbone, float, list[tuple[float, float]]]:
    """Measure interpolations of start and adapted weights, and return the one with the highest selection score.

    Returns:
        The best weights, their alpha, and (alpha, selection score) of each, the start first.
    """
    alphas, probe = sorted(plan.recipe.guard.weight_interpolation), trained.guard_probe
    if alphas == [1.0]:
        return adapted, 1.0, []
    forwards = len(probe.indices) * context.forwards_per_probe_image(plan.recipe) * len(alphas)
    if context.seconds_left() < forwards * trained.seconds_per_forward:
        context.reporter.line("no time of --minutes is left for weight interpolation")
        return adapted, 1.0, []
    context.reporter.stage(
        "trying weight interpolations", probe.images_per_measurement * sum(alpha < 1 for alpha in alphas)
    )
    tried = [(0.0, trained.result.probe_results[0].selection_score)]
    highest, chosen = float("-inf"), (adapted, 1.0)
    for alpha in alphas:
        mixed = adapted if alpha == 1.0 else interpolated(context.backbone, adapted, alpha)
        score = (best if alpha == 1.0 else probe.measure(mixed, best.step)).selection_score
        tried.append((alpha, score))
        if score >= highest:
            highest, chosen = score, (mixed, alpha)
    return *chosen, tried


def judged_images(trained: Trained) -> str:
    """Describe the images of the verdict."""
    guard, verdict = set(trained.guard_probe.indices), trained.holdout_probe.indices
    if trained.guard_probe is trained.holdout_probe:
        return f"{len(verdict)} images"
    shared = len(guard & set(verdict))
    also = f" ({shared} also used for selection, with other crops)" if shared else " that were not used for selection"
    return f"{len(verdict)} images{also}"


def _labelled(
    context: TrainContext, plan: TrainPlan, trained: Trained, adapted: Backbone
) -> tuple[list[ScoreLine], Sides]:
    """Score start and adapted weights on as many labelled images as the rest of `--minutes` allows."""
    if not plan.labelled or trained.result.stop_reason:
        return [], NOTHING
    rest = context.seconds_left() - PAGE_FORWARDS * trained.seconds_per_forward
    wanted = len(plan.labelled)
    allowed = wanted if rest == float("inf") else min(wanted, int(rest / (2 * trained.seconds_per_forward)))
    if allowed < min(MIN_LABELLED, wanted):
        context.reporter.warn(
            "no time of --minutes is left to measure labels; `dinocli embed` and `dinocli evaluate --labels` do it"
        )
        return [], NOTHING
    if allowed < wanted:
        context.reporter.warn(f"the rest of --minutes allows {allowed} of {wanted} labelled images to be measured")
    rows = plan.labelled[:allowed]
    context.reporter.stage("measuring with your labels", 2 * len(rows))
    return label_lines(trained.holdout_probe, context.backbone, adapted, context.labels, rows)
