"""The end of a run: which weights to keep, the table of start against adapted, and the report page."""

import copy
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dinocli.engine.checkpoint import Checkpointer, load_checkpoint
from dinocli.engine.loop import LATE, RunResult
from dinocli.engine.probe import Probe, ProbeResult
from dinocli.engine.progress import ProgressReporter
from dinocli.models.backbone import Backbone
from dinocli.models.weight_interpolation import interpolated
from dinocli.models.weights import save_backbone
from dinocli.quality.knn import accuracy, knn_classify, macro_f1
from dinocli.quality.selection_scores import SelectionScore
from dinocli.quality.verdict import Verdict, judge
from dinocli.tasks.labels import Labels
from dinocli.tasks.run_folder import RunFolder
from dinocli.tasks.train.advice import next_steps
from dinocli.tasks.train.comparison import Sides, group_table, pictures
from dinocli.tasks.train.report_page import KNOWN_WEAKNESS, ScoreLine, run_facts, write_train_report
from dinocli.tasks.train.setup import TrainContext, TrainOptions

LABELLED_MOST = 10_000
"""Labelled images that the closing table looks at; more would cost minutes and change no digit that matters."""

FEWEST_SHOWN = 4
"""Images below which there is nothing to put side by side."""

SCORES = {
    "retrieval_mrr": "crop finds its image, mean reciprocal rank",
    "retrieval_top1": "crop finds its image, top-1",
    "feature_std": "spread of the features (1 is isotropic)",
    "rankme": "RankMe, effective dimensions (centred)",
    "alpha_req": "alpha-ReQ, decay of the spectrum (about 1 is healthy)",
    "cka_to_start": "likeness to the start (linear CKA)",
}


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Args:
        folder: The run's folder.
        verdict: Better, no different or worse, and which weights `backbone/` holds.
        lines: Label-free scores of start and adapted weights.
        labelled: Scores by the user's labels; empty without labels.
        best_step: Step of the adapted weights.
        share: How far they lie from the start towards that step: 1 for all the way.
        blends: Every share that was tried, with the score that chose; 0 is the start.
        advice: What to try next where the run did not help.
        steps: Steps done.
        seconds: Of the whole command.
        images: Readable images.
        bad: Unreadable images.
    """

    folder: Path
    verdict: Verdict
    lines: list[ScoreLine]
    labelled: list[ScoreLine]
    best_step: int
    share: float
    blends: list[tuple[float, float]]
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
            "blends": [{"share": share, "score": score} for share, score in self.blends],
            **{key: getattr(self, key) for key in ("best_step", "share", "advice", "steps", "images", "bad")},
            "seconds": round(self.seconds, 1),
        }


def close_run(
    job: TrainOptions,
    context: TrainContext,
    folder: RunFolder,
    probes: tuple[Probe, Probe],
    checkpointer: Checkpointer,
    result: RunResult,
    labels: Labels,
    reporter: ProgressReporter,
    begin: float,
) -> TrainResult:
    """Mix, judge, measure with labels, keep the right weights, and write the report."""
    probe, holdout_probe = probes
    best = result.best if checkpointer.best.is_file() else None
    best_step = best.step if best else 0
    adapted, share, blends = context.backbone, 1.0, list[tuple[float, float]]()
    if best:
        adapted = adapted_backbone(context.backbone, checkpointer.best, holdout_probe)
    if best and not result.trouble:
        adapted, share, blends = best_blend(context, probe, result, adapted, reporter)
    shared = len(set(probe.indices) & set(holdout_probe.indices))
    also = f", {shared} of which the guard chose by, and new views" if shared else " that the guard did not choose by"
    reporter.line(f"judging step {best_step} against the start, on {len(holdout_probe.indices)} images{also}")
    before, start_ND = holdout_probe.look(context.backbone, 0), holdout_probe.clean_ND
    after = holdout_probe.look(adapted, best_step)
    sides = Sides(holdout_probe.rows, start_ND, holdout_probe.clean_ND)
    verdict = final_verdict(result, before, after, holdout_probe.choice)
    lines = score_lines(before, after, holdout_probe.choice)
    labelled: list[ScoreLine] = []
    if labels and not result.trouble:
        reporter.line("measuring start and adapted weights with your labels")
        labelled = label_lines(holdout_probe, context.backbone, adapted, labels)
    kept = adapted if verdict.keep == "adapted" else context.backbone
    save_backbone(folder.backbone, kept, context.info, context.preprocess)
    outcome = TrainResult(
        folder.path,
        verdict,
        lines,
        labelled,
        best_step,
        share,
        blends,
        next_steps(
            verdict,
            result,
            context.recipe,
            distinct=context.distinct,
            best_step=best_step,
            likeness=after.scores.cka_to_start,
            minutes=job.minutes if _cut_short(job, context, result) else 0.0,
        ),
        result.steps,
        time.monotonic() - begin,
        len(context.store),
        len(context.store.bad),
    )
    show = after.scores.finite and not result.trouble and len(sides.rows) >= FEWEST_SHOWN
    write_train_report(
        folder,
        title=f"{job.command}: {context.images.root.name}",
        verdict=verdict,
        facts=run_facts(context, result, best_step, share),
        lines=lines,
        labelled=labelled,
        blends=blends,
        groups=[group_table(sides, context.recipe.run.seed)] if show else [],
        pictures=pictures(sides, holdout_probe, context.backbone, adapted) if show else [],
        result=result,
        score_label=holdout_probe.choice.label,
        judged=f"On {len(holdout_probe.indices)} images{also}.",
        notes=[*outcome.advice, KNOWN_WEAKNESS],
    )
    return outcome


def best_blend(
    context: TrainContext, probe: Probe, result: RunResult, adapted: Backbone, reporter: ProgressReporter
) -> tuple[Backbone, float, list[tuple[float, float]]]:
    """Look at mixes of start and adapted weights, and take the one with the highest score.

    Returns:
        The best mix, its share of adapted weights, and all shares with their scores, that of the start first.
    """
    assert result.best is not None
    shares = sorted(context.recipe.guard.blend)
    if shares == [1.0]:
        return adapted, 1.0, []
    reporter.line("looking at mixes of start and adapted weights")
    scores = [(0.0, result.looks[0].score)]
    best, chosen = -math.inf, (adapted, 1.0)
    for share in shares:
        mixed = adapted if share == 1.0 else interpolated(context.backbone, adapted, share)
        look = result.best if share == 1.0 else probe.look(mixed, result.best.step)
        scores.append((share, look.score))
        if look.score >= best:
            best, chosen = look.score, (mixed, share)
    return *chosen, scores


def _cut_short(job: TrainOptions, context: TrainContext, result: RunResult) -> bool:
    planned = int(context.resolved(job.recipe).run.steps)
    return bool(job.minutes) and (result.early == LATE or int(context.recipe.run.steps) < planned)


def final_verdict(result: RunResult, start: ProbeResult, adapted: ProbeResult, choice: SelectionScore) -> Verdict:
    """Judge the adapted weights against the start; a run that the guard stopped keeps the start.

    Args:
        result: How the run ended.
        start: A look at the weights that it began with, on the images of the verdict.
        adapted: A look at the adapted weights, on the same images and views.
        choice: The score that chooses.
    """
    if result.trouble:
        return Verdict("worse", "start", f"The guard stopped the run at step {result.steps}: {result.trouble}.")
    return judge(start.scores, adapted.scores, start.values_U, adapted.values_U, choice)


def adapted_backbone(backbone: Backbone, best: Path, probe: Probe) -> Backbone:
    """Load the best checkpoint's weights into a copy of the start."""
    adapted = copy.deepcopy(backbone)
    adapted.load_state_dict(load_checkpoint(best, probe.loader.device)["backbone"])
    return adapted


def score_lines(start: ProbeResult, adapted: ProbeResult, choice: SelectionScore) -> list[ScoreLine]:
    """List the label-free scores of both, the one that chooses first."""
    return [
        ScoreLine(choice.label, start.score, adapted.score),
        *(ScoreLine(name, getattr(start.scores, key), getattr(adapted.scores, key)) for key, name in SCORES.items()),
    ]


def measured(labels: Labels) -> list[int]:
    """Return the places of the images to measure with labels: those with any, or a draw where they are too many."""
    with_any = [index for index, row in enumerate(zip(*labels.values(), strict=True)) if any(row)]
    indices: list[int] = np.random.default_rng(0).permutation(with_any)[:LABELLED_MOST].tolist()
    return sorted(indices)


def label_lines(probe: Probe, start: Backbone, adapted: Backbone, labels: Labels) -> list[ScoreLine]:
    """Measure both on the user's labels: leave-one-out k-NN as DINO does it, k = 20, temperature 0.07.

    Args:
        probe: Knows how to turn images into features.
        start: The weights that the run began with.
        adapted: The adapted weights.
        labels: One list per label column, in the order of the loader's images.
    """
    indices = measured(labels)
    (start_ND, rows), (adapted_ND, _) = (probe.features(backbone, indices) for backbone in (start, adapted))
    features = (start_ND, adapted_ND)
    lines = []
    for column, values in labels.items():
        chosen = np.array([values[row] for row in rows])
        known = chosen != ""
        truth = chosen[known]
        if len(set(truth.tolist())) < 2:
            continue
        predicted = [knn_classify(features_ND[known], truth) for features_ND in features]
        for name, score in (("accuracy", accuracy), ("macro F1", macro_f1)):
            lines.append(ScoreLine(f"k-NN {name}, {column}", *(score(truth, guess) for guess in predicted)))
    return lines
