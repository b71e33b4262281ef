"""Final stage of a run: save the weights, write report.html, return the result."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dinocli.artifacts.run_folder import RunFolder
from dinocli.engine.loop import LATE
from dinocli.engine.next_steps import next_steps
from dinocli.models.backbone import Backbone
from dinocli.models.frozen_teacher import licence_of
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights_info import WeightsInfo
from dinocli.quality.cosine import mean_cosine
from dinocli.quality.verdict import Verdict
from dinocli.report.score_lines import ScoreLine, share_of_teacher
from dinocli.tasks.train.budget import TrainPlan
from dinocli.tasks.train.report_page import write_page
from dinocli.tasks.train.select import Selection, Trained
from dinocli.tasks.train.train_context import TrainContext


@dataclass(frozen=True)
class TrainResult:
    """Result of a run.

    Args:
        folder: Run folder.
        verdict: Better, no different or worse; the weights in `backbone/`; and the gain of each part.
        lines: Label-free scores of start and adapted weights.
        labelled: Scores by the user's labels; empty without labels.
        best_step: Step of the adapted weights.
        alpha: Weight of the adapted weights in the interpolation with the start; 1 means no interpolation.
        tried: (alpha, selection score) of each tried interpolation; alpha 0 is the start.
        advice: What to try next if the run did not help.
        steps: Number of finished steps.
        seconds: Duration of the command.
        images: Number of readable images.
        bad: Number of unreadable images.
    """

    folder: Path
    verdict: Verdict
    lines: list[ScoreLine]
    labelled: list[ScoreLine]
    best_step: int
    alpha: float
    tried: list[tuple[float, float]]
    advice: list[str]
    steps: int
    seconds: float
    images: int
    bad: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return {
            "run": str(self.folder),
            "backbone": str(self.folder / "backbone"),
            "verdict": asdict(self.verdict),
            "scores": [asdict(line) for line in self.lines],
            "labelled": [asdict(line) for line in self.labelled],
            "share_of_teacher": share_of_teacher(self.labelled),
            "weight_interpolation": [{"alpha": alpha, "selection_score": score} for alpha, score in self.tried],
            **{key: getattr(self, key) for key in ("best_step", "alpha", "advice", "steps", "images", "bad")},
            "seconds": round(self.seconds, 1),
        }


def _differ(adapted: Backbone, start: Backbone) -> bool:
    """Return whether a tensor differs: step 0 has the weights of the start, and often other batch-norm statistics."""
    pairs = zip(adapted.state_dict().values(), start.state_dict().values(), strict=True)
    return any(not torch.equal(one.cpu(), other.cpu()) for one, other in pairs)


def report(
    context: TrainContext, plan: TrainPlan, trained: Trained, selection: Selection, folder: RunFolder
) -> TrainResult:
    """Save the weights that the verdict keeps, write report.html, and return the result.

    If the verdict keeps the start, the adapted weights (of the best step, or of the start with adapted batch-norm
    statistics) are saved in `adapted/`, for users whose labels say otherwise.
    """
    if selection.verdict.keep != "start":
        save_backbone(folder.backbone, selection.adapted, _adapted_info(context, selection), context.preprocess)
    else:
        save_backbone(folder.backbone, context.backbone, context.info, context.preprocess)
        changed = selection.best_step or _differ(selection.adapted, context.backbone)
        if trained.result.best and changed and not trained.result.stop_reason:
            save_backbone(folder.adapted, selection.adapted, _adapted_info(context, selection), context.preprocess)
    advice = next_steps(
        selection.verdict,
        trained.result,
        plan.recipe,
        distinct=context.distinct,
        after=selection.after,
        labelled=bool(selection.labelled),
        minutes=context.options.minutes if plan.cut or trained.result.early_end == LATE else 0.0,
    )
    if folder.adapted.is_dir() and not selection.best_step:
        advice.append(f"If labels say that adapted batch-norm statistics alone are better: --weights {folder.adapted}.")
    if not context.info.pretrained and folder.adapted.is_dir():
        advice.insert(
            0, f"The kept weights are random, as the start was. The trained ones: --weights {folder.adapted}."
        )
    write_page(context, plan, trained, selection, folder, advice)
    return TrainResult(
        folder=folder.path,
        verdict=selection.verdict,
        lines=selection.lines,
        labelled=selection.labelled,
        best_step=selection.best_step,
        alpha=selection.alpha,
        tried=selection.tried,
        advice=advice,
        steps=trained.result.steps,
        seconds=time.monotonic() - context.started,
        images=len(context.store),
        bad=len(context.store.bad),
    )


def _adapted_info(context: TrainContext, selection: Selection) -> WeightsInfo:
    """Return the description of the adapted weights: their licence, and how much training changed the similarity."""
    info = context.info
    if context.teacher:
        info = replace(info, licence=licence_of(info, context.teacher.info))
    if info.pretrained:
        start, adapted = mean_cosine(selection.sides.start_ND), mean_cosine(selection.sides.adapted_ND)
        change = info.similarity_change + adapted - start
        info = replace(info, similarity_change=max(-1.0, min(1.0, change)))
    return info
