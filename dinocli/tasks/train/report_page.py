"""report.html of a run: verdict, tables, curves and the views, from what the run knows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dinocli import __version__
from dinocli.engine.loop import RunResult
from dinocli.engine.probe import ProbeResult
from dinocli.quality.verdict import Verdict
from dinocli.report.chart import Curve
from dinocli.report.page import Report, Table, write_report
from dinocli.tasks.inputs import describe_weights
from dinocli.tasks.run_folder import RunFolder
from dinocli.tasks.train.setup import TrainContext

KNOWN_WEAKNESS = (
    "A score without labels rewards what parts of one image share and other images do not. A run can learn to ignore a "
    "small defect together with the noise around it, and score better; it can also win by the light or the camera of "
    "each image. Where you have labels for a few images, give them with --labels and let them have the last word."
)


@dataclass(frozen=True)
class ScoreLine:
    """One line of the closing table.

    Args:
        name: Of the score.
        start: By the weights that the run began with.
        adapted: By the adapted weights.
    """

    name: str
    start: float
    adapted: float


def run_facts(context: TrainContext, result: RunResult, best_step: int, share: float) -> list[tuple[str, str]]:
    recipe, info = context.recipe, context.info
    where = f"teacher after step {best_step}" + (f", {share:.0%} of the way from the start" if share < 1 else "")
    ended = f" ({result.early})" if result.early else ""
    return [
        ("images", f"{len(context.store)} in {context.images.root}"),
        ("different images", f"about {context.distinct}, near-copies counted once"),
        ("unreadable images", str(len(context.store.bad))),
        ("start", describe_weights(info)),
        ("steps", f"{result.steps} of {recipe.run.steps}{ended}, {recipe.run.batch_size} images each"),
        ("adapted weights", where),
        ("what learns", f"head; of the backbone: {recipe.model.trainable}"),
        ("time in training", f"{result.seconds / 60:.1f} minutes"),
        ("device", f"{context.precision.device}, {context.precision.name}, {context.world.size} process(es)"),
        ("recipe", recipe.description),
        ("finished", time.strftime("%Y-%m-%d %H:%M")),
        ("dinocli", __version__),
    ]


def write_train_report(
    folder: RunFolder,
    *,
    title: str,
    verdict: Verdict,
    facts: Sequence[tuple[str, str]],
    lines: Sequence[ScoreLine],
    labelled: Sequence[ScoreLine],
    blends: Sequence[tuple[float, float]],
    groups: Sequence[Table],
    pictures: Sequence[tuple[str, bytes]],
    result: RunResult,
    score_label: str,
    judged: str,
    notes: Sequence[str],
) -> None:
    """Write report.html from what the run knows."""
    tables = [_table("Without labels", lines, judged)]
    if labelled:
        tables.append(_table("With your labels", labelled, "Leave-one-out, k = 20. The guard never saw these labels."))
    if blends:
        rows = [(f"{share:.0%}", score) for share, score in blends]
        note = (
            "0 % is the start. On the images that the guard chooses by; the highest of the others is what was judged."
        )
        tables.append(Table("Mixes of start and adapted weights", ("share of the adapted", "score"), rows, note))
    tables += groups
    keep = {"adapted": "Keep the adapted weights.", "start": "Keep the original weights."}[verdict.keep]
    report = Report(
        title=title,
        verdict_outcome=verdict.outcome,
        verdict_sentence=f"{verdict.reason} {keep}",
        facts=facts,
        tables=tables,
        curves=[*_look_curves(result.looks, score_label), *_step_curves(result.rows)],
        images=[
            *pictures,
            ("What the network saw: every row one image, every column one view", folder.views.read_bytes()),
        ],
        notes=notes,
    )
    write_report(folder.report, report)


def _table(title: str, lines: Sequence[ScoreLine], note: str) -> Table:
    rows = [(line.name, line.start, line.adapted, f"{line.adapted - line.start:+.3g}") for line in lines]
    return Table(title, ("score", "start", "adapted", "change"), rows, note)


def _look_curves(looks: Sequence[ProbeResult], score_label: str) -> list[Curve]:
    steps = [look.step for look in looks]
    chosen = [look.score for look in looks]
    shown = {"retrieval_mrr": "Crop finds its image", "rankme": "RankMe", "feature_std": "Feature spread"}
    curves = [Curve("What the guard chooses by", "step", "", steps, {score_label: chosen}, start=chosen[0])]
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
