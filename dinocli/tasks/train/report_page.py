"""report.html of a run: verdict, tables, curves and pictures."""

import time
from collections.abc import Sequence

from dinocli import __version__
from dinocli.artifacts.run_folder import RunFolder
from dinocli.engine.next_steps import LABEL_SOME, READ_YOURS
from dinocli.engine.run_seconds import PAGE_FORWARDS
from dinocli.quality.selection_score import SelectionScore
from dinocli.report.adapted_comparison import group_table, patch_sheet
from dinocli.report.neighbour_pictures import neighbour_table
from dinocli.report.page import Part, Report, Table, write_report
from dinocli.report.page_parts import Charts, FactList, Listing, NoteList, Sheet, command_line
from dinocli.report.run_curves import probe_curves, step_curves
from dinocli.report.score_lines import gain_table, interpolation_table, score_table, share_of_teacher
from dinocli.report.verdict_words import HOW_TO_READ, KEEP, STUDENT_HOW_TO_READ, details, lead
from dinocli.tasks.train.budget import TrainPlan
from dinocli.tasks.train.select import Selection, Trained
from dinocli.tasks.train.train_context import TrainContext

MIN_COMPARED_IMAGES = 4
"""Minimum number of images for the pictures that compare start and adapted weights."""

VIEWS_NOTE = (
    "One row per image: the whole image first, then each view as the network gets it. Under a view: its fraction of "
    "the image's area, and the applied augmentations. Details that matter to you have to be visible in most views."
)


def write_page(
    context: TrainContext,
    plan: TrainPlan,
    trained: Trained,
    selection: Selection,
    folder: RunFolder,
    advice: Sequence[str],
) -> None:
    """Write report.html."""
    context.reporter.stage("drawing the report")
    result, verdict = trained.result, selection.verdict
    score = trained.holdout_probe.score
    pictures, tables = list[Part](), _tables(selection, score)
    how_to_read = STUDENT_HOW_TO_READ if context.teacher else HOW_TO_READ
    if _can_compare(context, trained, selection):
        tables.append(group_table(selection.sides, plan.recipe.run.seed))
        pictures.append(neighbour_table(selection.neighbours, trained.holdout_probe, context.labels))
        pictures.append(patch_sheet(selection.sides, trained.holdout_probe, context.backbone, selection.adapted))
    page = Report(
        title=f"{context.options.command}: {context.images.root.name}",
        verdict_outcome=verdict.outcome,
        verdict_sentence=f"{lead(verdict, of_student=bool(context.teacher))} {KEEP[verdict.keep]}",
        verdict_details=" ".join(filter(None, (details(verdict), share_of_teacher(selection.labelled)))),
        parts=[
            NoteList(advice, "Next steps"),
            *pictures,
            *tables,
            Charts([*probe_curves(result.probe_results, score), *step_curves(result.rows)]),
            Sheet("Views", folder.views.read_bytes(), VIEWS_NOTE),
            FactList(run_facts(context, plan, trained, selection)),
            command_line(context.options.argv),
            Listing("recipe.toml: every setting, resolved", folder.recipe.read_text("utf-8"), folded=True),
            NoteList([*how_to_read, READ_YOURS if selection.labelled else LABEL_SOME], "How to read this page"),
        ],
    )
    write_report(folder.report, page)


def _can_compare(context: TrainContext, trained: Trained, selection: Selection) -> bool:
    """Return whether there are enough images, finite features and time to compare start and adapted weights."""
    finite = selection.after.scores.finite and not trained.result.stop_reason
    if not finite or len(selection.sides.rows) < MIN_COMPARED_IMAGES:
        return False
    if context.seconds_left() < PAGE_FORWARDS * trained.seconds_per_forward:
        context.reporter.line("no time of --minutes is left for the pictures of report.html")
        return False
    return True


def run_facts(context: TrainContext, plan: TrainPlan, trained: Trained, selection: Selection) -> list[tuple[str, str]]:
    """Return the facts of the run: data, weights, steps, time and device."""
    recipe, result = plan.recipe, trained.result
    if not result.best:
        adapted = "none"
    elif selection.best_step:
        adapted = f"{'average of the student' if context.teacher else 'teacher'} after step {selection.best_step}"
    else:
        adapted = "start with adapted batch-norm statistics, no training step"
    if selection.alpha < 1:
        adapted += f", interpolated with the start (alpha {selection.alpha:g})"
    ended = f" ({result.early_end})" if result.early_end else ""
    processes = "1 process" if context.world.size == 1 else f"{context.world.size} processes"
    device = f"{context.precision.device}, {context.precision.name}, {processes}"
    return [
        ("images", f"{len(context.store)} in {context.images.root}"),
        ("distinct images", f"about {context.distinct}, near-copies counted once"),
        ("unreadable images", str(len(context.store.bad))),
        ("start", context.info.describe()),
        *([("teacher", f"{context.teacher.info.describe()}; frozen")] if context.teacher else []),
        ("steps", f"{result.steps} of {recipe.run.steps}{ended}, {recipe.run.batch_size} images per step"),
        ("adapted weights", adapted),
        ("trained parameters", f"head; of the backbone: {recipe.model.trainable}"),
        ("time in training", f"{result.seconds / 60:.1f} minutes"),
        ("device", device),
        ("recipe", recipe.description),
        ("finished", time.strftime("%Y-%m-%d %H:%M")),
        ("dinocli", __version__),
    ]


def _tables(selection: Selection, score: SelectionScore) -> list[Table]:
    tables = [score_table("Without labels", selection.lines, selection.judged)]
    if len(selection.verdict.gains) > 1:
        tables.append(gain_table(selection.verdict.gains, score))
    if selection.labelled:
        note = "Leave-one-out, k = 20. The guard never saw these labels."
        tables.append(score_table("With your labels", selection.labelled, note))
    if selection.tried:
        tables.append(interpolation_table(selection.tried, selection.alpha, selection.best_alpha, score))
    return tables
