"""The end of a run: which weights to keep, the table of start against adapted, and the report page."""

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dinocli import __version__
from dinocli.engine.checkpoint import Keeper, load_checkpoint
from dinocli.engine.probe import Look, Probe
from dinocli.engine.train import RunResult
from dinocli.engine.watch import Watcher
from dinocli.models.backbone import Backbone
from dinocli.models.weights import save_backbone
from dinocli.quality.neighbours import accuracy, knn_classify, macro_f1
from dinocli.quality.verdict import Verdict, judge
from dinocli.report.chart import Curve
from dinocli.report.page import Report, Table, write_report
from dinocli.tasks.ground import Ground, Job, describe
from dinocli.tasks.labels import Labels
from dinocli.tasks.run_folder import RunFolder

KNOWN_WEAKNESS = (
    "Finding an image by an augmented view of it rewards invariance to the very changes that the training asks for: a "
    "run can learn to ignore a defect together with the noise around it, and score better. Where you have labels for a "
    "few images, give them with --labels and let them have the last word."
)

LABELLED_MOST = 10_000
"""Labelled images that the closing table looks at; more would cost minutes and change no digit that matters."""

SCORES = {
    "retrieval_mrr": "augmented view finds its image, mean reciprocal rank",
    "retrieval_top1": "augmented view finds its image, top-1",
    "feature_std": "spread of the features (1 is isotropic)",
    "rankme": "RankMe, effective dimensions (centred)",
    "alpha_req": "alpha-ReQ, decay of the spectrum (about 1 is healthy)",
    "cka_to_start": "likeness to the start (linear CKA)",
}


@dataclass(frozen=True)
class Line:
    """One line of the closing table.

    Args:
        name: Of the score.
        start: By the weights that the run began with.
        adapted: By the adapted weights.
    """

    name: str
    start: float
    adapted: float


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Args:
        folder: The run's folder.
        verdict: Better, no different or worse, and which weights `backbone/` holds.
        lines: Label-free scores of start and adapted weights.
        labelled: Scores by the user's labels; empty without labels.
        best_step: Step of the adapted weights.
        steps: Steps done.
        seconds: Of the whole command.
        images: Readable images.
        bad: Unreadable images.
    """

    folder: Path
    verdict: Verdict
    lines: list[Line]
    labelled: list[Line]
    best_step: int
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
            **{key: getattr(self, key) for key in ("best_step", "steps", "images", "bad")},
            "seconds": round(self.seconds, 1),
        }


def close_run(
    job: Job,
    ground: Ground,
    folder: RunFolder,
    jury: Probe,
    keeper: Keeper,
    result: RunResult,
    labels: Labels,
    watcher: Watcher,
    begin: float,
) -> Outcome:
    """Judge, measure with labels, keep the right weights, and write the report."""
    best_step = result.best.step if keeper.best.is_file() else 0
    adapted = adapted_backbone(ground.backbone, keeper.best, jury) if best_step else ground.backbone
    watcher.line(f"judging step {best_step} against the start, on {len(jury.indices)} images with new views")
    before, after = jury.look(ground.backbone, 0), jury.look(adapted, best_step)
    verdict = final_verdict(result, before, after)
    lines = score_lines(before, after)
    labelled: list[Line] = []
    if labels and not result.trouble:
        watcher.line("measuring start and adapted weights with your labels")
        labelled = label_lines(jury, ground.backbone, adapted, _of_store(labels, ground))
    kept = adapted if verdict.keep == "adapted" else ground.backbone
    save_backbone(folder.backbone, kept, ground.info, ground.preprocess)
    outcome = Outcome(
        folder.path,
        verdict,
        lines,
        labelled,
        best_step,
        result.steps,
        time.monotonic() - begin,
        len(ground.store),
        len(ground.store.bad),
    )
    write_run_report(
        folder,
        title=f"{job.command}: {ground.images.root.name}",
        verdict=verdict,
        facts=_facts(ground, result, best_step),
        lines=lines,
        labelled=labelled,
        result=result,
        notes=[KNOWN_WEAKNESS],
    )
    return outcome


def _of_store(labels: Labels, ground: Ground) -> Labels:
    """Take the labels of the readable images, in the order of the store."""
    place = {name: row for row, name in enumerate(ground.images.names)}
    rows = [place[name] for name in ground.store.names]
    return {column: [values[row] for row in rows] for column, values in labels.items()}


def _facts(ground: Ground, result: RunResult, best_step: int) -> list[tuple[str, str]]:
    recipe, info = ground.recipe, ground.info
    return [
        ("images", f"{len(ground.store)} in {ground.images.root}"),
        ("unreadable images", str(len(ground.store.bad))),
        ("start", describe(info)),
        ("steps", f"{result.steps} of {recipe.run.steps}, {recipe.run.batch_size} images each"),
        ("adapted weights", f"teacher after step {best_step}"),
        ("time in training", f"{result.seconds / 60:.1f} minutes"),
        ("device", f"{ground.precision.device}, {ground.precision.name}, {ground.world.size} process(es)"),
        ("recipe", recipe.description),
        ("finished", time.strftime("%Y-%m-%d %H:%M")),
        ("dinocli", __version__),
    ]


def final_verdict(result: RunResult, start: Look, adapted: Look) -> Verdict:
    """Judge the adapted weights against the start; a run that the guard stopped keeps the start.

    Args:
        result: How the run ended.
        start: A look at the weights that it began with, on images that the guard did not choose by.
        adapted: A look at the adapted weights, on the same images and views.
    """
    if result.trouble:
        return Verdict("worse", "start", f"The guard stopped the run at step {result.steps}: {result.trouble}.")
    return judge(start.scores, adapted.scores, start.ranks_N, adapted.ranks_N)


def adapted_backbone(backbone: Backbone, best: Path, probe: Probe) -> Backbone:
    """Load the best checkpoint's weights into a copy of the start."""
    adapted = copy.deepcopy(backbone)
    adapted.load_state_dict(load_checkpoint(best, probe.precision.device)["backbone"])
    return adapted


def score_lines(start: Look, adapted: Look) -> list[Line]:
    """List the label-free scores of both."""
    return [Line(name, getattr(start.scores, key), getattr(adapted.scores, key)) for key, name in SCORES.items()]


def label_lines(probe: Probe, start: Backbone, adapted: Backbone, labels: Labels) -> list[Line]:
    """Measure both on the user's labels: leave-one-out k-NN as DINO does it, k = 20, temperature 0.07.

    Args:
        probe: Knows how to turn images into features.
        start: The weights that the run began with.
        adapted: The adapted weights.
        labels: One list per label column, in the order of the loader's images.
    """
    every = len(next(iter(labels.values())))
    indices = sorted(np.random.default_rng(0).permutation(every)[:LABELLED_MOST].tolist())
    features = [probe.features(backbone, indices) for backbone in (start, adapted)]
    lines = []
    for column, values in labels.items():
        chosen = np.array([values[index] for index in indices])
        known = chosen != ""
        truth = chosen[known]
        if len(set(truth.tolist())) < 2:
            continue
        predicted = [knn_classify(features_ND[known], truth) for features_ND in features]
        for name, score in (("accuracy", accuracy), ("macro F1", macro_f1)):
            lines.append(Line(f"k-NN {name}, {column}", *(score(truth, guess) for guess in predicted)))
    return lines


def write_run_report(
    folder: RunFolder,
    *,
    title: str,
    verdict: Verdict,
    facts: Sequence[tuple[str, str]],
    lines: Sequence[Line],
    labelled: Sequence[Line],
    result: RunResult,
    notes: Sequence[str],
) -> None:
    """Write report.html from what the run knows."""
    tables = [_table("Without labels", lines, "On images and views that the guard did not choose the best step by.")]
    if labelled:
        tables.append(_table("With your labels", labelled, "Leave-one-out, k = 20. The guard never saw these labels."))
    keep = {"adapted": "Keep the adapted weights.", "start": "Keep the original weights."}[verdict.keep]
    report = Report(
        title=title,
        verdict_outcome=verdict.outcome,
        verdict_sentence=f"{verdict.reason} {keep}",
        facts=facts,
        tables=tables,
        curves=[*_look_curves(result.looks), *_step_curves(result.rows)],
        images=[("What the network saw: every row one image, every column one view", folder.views.read_bytes())],
        notes=notes,
    )
    write_report(folder.report, report)


def _table(title: str, lines: Sequence[Line], note: str) -> Table:
    rows = [(line.name, line.start, line.adapted, f"{line.adapted - line.start:+.3g}") for line in lines]
    return Table(title, ("score", "start", "adapted", "change"), rows, note)


def _look_curves(looks: Sequence[Look]) -> list[Curve]:
    steps = [look.step for look in looks]
    shown = {"retrieval_mrr": "Augmented view finds its image", "rankme": "RankMe", "feature_std": "Feature spread"}
    curves = []
    for key, title in shown.items():
        values = [getattr(look.scores, key) for look in looks]
        curves.append(Curve(title, "step", "", steps, {key.replace("_", " "): values}, start=values[0]))
    return curves


def _step_curves(rows: Sequence[dict[str, Any]]) -> list[Curve]:
    steps = [row["step"] for row in rows]

    def values(key: str) -> list[float]:
        return [float("nan") if row[key] is None else row[key] for row in rows]

    return [
        Curve("Loss", "step", "nats", steps, {"loss": values("loss"), "KL": values("kl")}),
        Curve(
            "Entropy of the targets",
            "step",
            "share of the largest",
            steps,
            {"one image": values("entropy"), "all images": values("marginal_entropy")},
        ),
        Curve("Gradient norm", "step", "", steps, {"before clipping": values("grad_norm")}),
    ]
