"""`dinocli pretrain` and `dinocli finetune-ssl`: parse, one library call, present. Two recipes, one function."""

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

import dinocli
from dinocli.cli import completion, paths
from dinocli.cli import options as opt
from dinocli.cli.help_page import examples
from dinocli.cli.multi_gpu import run_on_gpus
from dinocli.cli.option_groups import grouped, options_of, read_options, terminal_options
from dinocli.report.text import difference, score

if TYPE_CHECKING:
    from dinocli.cli.render import Terminal
    from dinocli.report.score_lines import ScoreLine
    from dinocli.tasks.train.run_report import TrainResult


class TrainingCommand(NamedTuple):
    """A training command: recipes below those of the user, recipes of a user who names none, help and examples."""

    base_recipes: tuple[str, ...]
    default_recipes: tuple[str, ...]
    help: str
    epilog: str


_OUTPUT_HELP = (
    "\n\nWrites a folder with the weights to keep (backbone/), report.html, and everything needed to repeat the run. "
    "Its path is printed on stdout."
)
DISTILLATION_RECIPE = "distill"
"""Base recipe of every run with a frozen teacher, of both commands."""

NO_RECIPE = "No --recipe given. A domain recipe may work better; see `dinocli recipe list`."
TRAINING_COMMANDS = {
    "finetune-ssl": TrainingCommand(
        ("gentle",),
        ("plain",),
        "Adapt ImageNet weights with DINO in small steps; for hundreds to tens of thousands of images.\n\n"
        "It is `pretrain` with the recipe `gentle`, then that of your images (default: `plain`). The head trains "
        "first, then the backbone. The run ends when the selection score stops improving; the verdict says if the "
        "features got better than those of the start." + _OUTPUT_HELP,
        examples(
            "dinocli finetune-ssl ./images --recipe grey --minutes 20",
            "dinocli finetune-ssl ./images --dry-run",
            "dinocli finetune-ssl ./images --set model.trainable=last-2",
        ),
    ),
    "pretrain": TrainingCommand(
        (),
        (),
        "Train all parameters with DINO, from ImageNet weights or from scratch.\n\n"
        "With fewer than tens of thousands of images, use `finetune-ssl`. At the end the verdict says if the features "
        "got better than those of the start." + _OUTPUT_HELP,
        examples(
            "dinocli pretrain ./images --recipe industrial --minutes 20",
            "dinocli pretrain ./images --dry-run",
            "find . -name '*.tif' -print0 | dinocli pretrain - -0 --weights none --model vit_tiny_patch16_224",
        ),
    ),
}


def _batch_size(text: str | int) -> str | int:
    """Parse `--batch-size`: auto, max or an integer of at least 2."""
    if text in ("auto", "max"):
        return text
    if not str(text).isascii() or not str(text).isdigit() or int(text) < 2:
        raise typer.BadParameter("choose auto, max or a number of at least 2")
    return int(text)


@grouped(read=read_options, terminal=terminal_options)
def training(
    ctx: typer.Context,
    images: opt.Images = None,
    read: Any = None,
    cache: Annotated[
        str | None,
        opt.image(
            "--cache", "Memory for decoded images: auto, off, or a size such as 8G.", "SIZE", show_default="auto"
        ),
    ] = None,
    labels: Annotated[
        str,
        opt.image(
            "--labels",
            "Labels for the final table only: folder, folder:N, CSV, COCO, YOLO, VOC.",
            "LABELS",
            paths.labels,
        ),
    ] = "",
    weights: opt.Weights = None,
    model: opt.Model = None,
    teacher: Annotated[
        str | None,
        opt.model(
            "--teacher",
            "Distil these frozen weights into --model; same forms as --weights.",
            "WEIGHTS",
            paths.weights,
            autocompletion=completion.weights,
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        opt.training(
            "--recipe, -r",
            "Name (`dinocli recipe list`) or path; repeatable, the last wins.",
            "RECIPE",
            autocompletion=completion.recipes,
        ),
    ] = None,
    settings: opt.Settings = None,
    steps: Annotated[
        int | None, opt.training("--steps", "Optimizer steps.", min=1, show_default="from the number of images")
    ] = None,
    minutes: Annotated[
        float, opt.training("--minutes", "Time limit of the whole command, minutes; 0: none.", min=0.0, max=1e6)
    ] = 0.0,
    batch_size: Annotated[
        Any,
        opt.training(
            "--batch-size",
            "Images per step over all processes; auto; max: all that fits in memory.",
            "N",
            parser=_batch_size,
            show_default="auto",
        ),
    ] = None,
    seed: Annotated[
        int | None, opt.training("--seed", "Random seed.", min=0, max=opt.MAX_SEED, show_default="0")
    ] = None,
    out: Annotated[str, opt.output("--out, -o", "Folder of the run.", "FOLDER", show_default="runs/NAME")] = "",
    device: opt.Device = "auto",
    gpus: opt.Gpus = 1,
    resume: opt.Resume = False,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    profile: Annotated[
        bool, opt.output("--profile", "Time the parts of 10 steps; Chrome trace in RUN/profile.json.")
    ] = False,
    terminal: Any = None,
) -> None:
    """Train with the recipes of the command; help comes from `TRAINING_COMMANDS`."""
    started = time.monotonic()
    command = str(ctx.command.name)
    if not images:
        raise typer.BadParameter("give at least one folder, file or glob", param_hint="IMAGES")
    from dinocli.cli.facts import show_plan
    from dinocli.config.load import load_recipe

    reading = ("range", "channels", "nodata", "page", "z", "roi", "max_bad", "workers")
    recipe_options = {
        **{f"data.{name}": value for name in reading if (value := getattr(read, name)) not in ("", None)},
        "data.cache": cache,
        "model.weights": weights,
        "model.name": model,
        "model.teacher": teacher,
        "run.steps": steps,
        "run.batch_size": batch_size,
        "run.seed": seed,
    }
    mode = TRAINING_COMMANDS[command]
    base_recipes = mode.base_recipes if teacher is None else (DISTILLATION_RECIPE,)
    layers = [*base_recipes, *(recipe or mode.default_recipes)]
    merged = load_recipe(layers, settings_of(recipe_options, settings))
    run_on_gpus(gpus, device)
    with terminal:
        from dinocli.artifacts.run_folder import check_new_run
        from dinocli.data.sources import check_not_empty, check_null
        from dinocli.engine.trackers import check_trackers
        from dinocli.file_set import LOCK_NAME

        options = options_of(dinocli.TrainOptions, locals(), inputs=images, recipe=merged, argv=sys.argv)
        check_null(images, null=read.null)
        check_not_empty(images)
        check_trackers(merged.run.track)
        if out and not dry_run and not (Path(out) / LOCK_NAME).exists():  # else the lock says who writes it
            check_new_run(Path(out), resume=resume, force=force)
            options.check_out()
        if dry_run:
            from dinocli.tasks.train.dry_run import dry_run as plan

            show = partial(show_plan, terminal, plan(options, terminal, sys.stdin.buffer))
        else:
            result = dinocli.train(options, terminal, sys.stdin.buffer, started)
            show = partial(show_trained, terminal, result, hints=() if recipe else (NO_RECIPE,))
    show()


def settings_of(pairs: dict[str, Any], settings: list[str] | None) -> list[str]:
    """Return options that are not None as `--set` strings, followed by the user's `--set` strings, which win."""
    given = {key: value for key, value in pairs.items() if value is not None}
    # Strings, numbers and lists are the same in JSON and TOML.
    return [*(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items()), *(settings or [])]


def show_trained(terminal: "Terminal", result: "TrainResult | None", *, hints: Sequence[str] = ()) -> None:
    """Show the result of a run: tables and verdict on stderr, the run folder on stdout."""
    from dinocli.quality.verdict import KEPT

    if result is None:
        return
    step = f"step {result.best_step}" if result.best_step else "statistics"  # adapted ones of the batch norms
    step += f", alpha {result.alpha:g}" if result.alpha < 1 else ""
    for title, lines in (("Without labels", result.lines), ("With your labels", result.labelled)):
        if lines:
            terminal.table(title, *_score_table(lines, step))
    data = result.to_dict()
    for sentence in (*result.verdict.sentences, data["share_of_teacher"]):
        if sentence:
            terminal.line(sentence)
    unimproved = " (no training step improved on them)" if result.verdict.keep == "statistics" else ""
    terminal.line(f"Keep {KEPT[result.verdict.keep]}{unimproved}: {result.folder / 'backbone'}")
    for advice in result.advice:
        terminal.line(f"Try next: {advice}")
    for hint in hints:
        terminal.line(hint)
    terminal.ending(
        [result.folder / "report.html"], [f"dinocli embed --weights {quote(str(result.folder))} --out feats.npy"]
    )
    terminal.result(data, result.folder)


def _score_table(lines: "Sequence[ScoreLine]", step: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows; columns `statistics` (adapted batch norm) and `teacher` only if measured."""
    header, rows = ["", "start", step, "change"], []
    for line in lines:
        values = [line.start, line.adapted] if line.statistics is None else [line.start, line.statistics, line.adapted]
        rows.append([line.name, *map(score, values), difference(line.adapted, line.start)])
    if len(rows[0]) > len(header):
        header.insert(2, "statistics")
    if any(line.teacher is not None for line in lines):
        header.append("teacher")
        rows = [
            [*row, "" if line.teacher is None else score(line.teacher)] for row, line in zip(rows, lines, strict=True)
        ]
    return header, rows
