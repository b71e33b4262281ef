"""Train, then say whether it helped: the one library call behind `pretrain` and every recipe of it."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from dinocli.config.load import with_values
from dinocli.data.loader import Loader
from dinocli.engine import distributed
from dinocli.engine.build import build_checkpointer, build_learner, build_monitor, compile_backbones
from dinocli.engine.distributed import from_main, open_world
from dinocli.engine.initialize import initialize
from dinocli.engine.loop import look_at, run
from dinocli.engine.monitor import advice
from dinocli.engine.progress import ProgressReporter
from dinocli.engine.step import Learner, train_step
from dinocli.errors import Interrupted, TrainingStopped
from dinocli.tasks.labels import Labels, of_several_kinds, read_labels
from dinocli.tasks.run_folder import RunFolder, mark_latest, open_run
from dinocli.tasks.train.budget import (
    look_every,
    looks_to_get_ready,
    looks_to_measure,
    seconds_per_step,
    seconds_to_train,
    within,
)
from dinocli.tasks.train.manifest import begin_folder, check_same, make_manifest
from dinocli.tasks.train.select import TrainResult, close_run, measured
from dinocli.tasks.train.setup import TrainContext, TrainOptions, list_images, prepare


def train(
    job: TrainOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> TrainResult | None:
    """Continue DINO on a folder of images, judge the result, and leave a run folder behind.

    Args:
        job: What to do.
        reporter: Hears how far it is.
        stdin: Where `-` reads names from.

    Returns:
        The outcome, in the main process; None in the others that `torchrun` started.

    Raises:
        DinocliError: Of every kind; a stopped run still leaves its report and the original weights.
        Interrupted: After a signal and a checkpoint.
    """
    world, device = open_world(job.device)
    reporter = reporter if reporter and world.is_main else ProgressReporter()
    begin = time.monotonic()
    held = contextlib.ExitStack()
    try:
        folder = from_main(lambda: held.enter_context(_open(job)))
        images = list_images(job, stdin)
        labels = read_labels(job.labels, images.names, reporter.line) if job.labels else {}
        kept = folder.read() if job.resume and folder.has_started else None
        if kept:
            check_same(job, images, kept)
        context = prepare(job, images, world, device, reporter, kept)
        return _train(job, context, folder, kept, _useful(labels, context, reporter), reporter, begin)
    finally:
        held.close()
        distributed.leave()


def _train(
    job: TrainOptions,
    context: TrainContext,
    folder: RunFolder,
    kept: dict[str, Any] | None,
    labels: Labels,
    reporter: ProgressReporter,
    begin: float,
) -> TrainResult | None:
    world, loader = context.world, context.loader()
    probe, holdout_probe = context.probes(loader)
    reporter.line(f"measuring the start on {len(probe.indices)} probe images")
    looked = time.monotonic()
    start = from_main(lambda: probe.look(context.backbone, 0))
    per_look = from_main(lambda: time.monotonic() - looked)
    promised = per_look * looks_to_measure(len(measured(labels)), probe.work)
    if job.minutes and not kept:
        ready = per_look * looks_to_get_ready(context.recipe, len(context.store), context.preprocess.size, probe.work)
        _fit_into(job, context, loader, begin, ready + promised, per_look, reporter)
    learner = build_learner(context.recipe, context.backbone, context.preprocess, context.precision, world)
    _compile(context, learner, loader, reporter)
    manifest = kept or make_manifest(job, context)
    if not kept:
        from_main(lambda: begin_folder(folder, context, learner, loader, manifest))
        if folder.previous.is_dir():
            reporter.line(f"the run that was here is kept in {folder.previous} until this one has ended")
    checkpointer = build_checkpointer(context.recipe, folder.checkpoints, world)
    monitor = build_monitor(context.recipe, folder.path, world)
    first, seconds = 0, 0.0
    if kept and checkpointer.last.is_file():
        first, seconds = checkpointer.restore(learner, monitor)
        reporter.line(f"going on after step {first} of {learner.plan.steps}")
    else:
        monitor.begin(start)
        initialize(learner, loader, context.recipe, context.preprocess, reporter)
        if context.recipe.model.batch_norm == "adapted":
            look_at(learner, probe, monitor, checkpointer, 0)
    recipe = context.recipe
    with _interruptions(folder, manifest, writes=world.is_main):
        result = run(
            learner,
            loader,
            probe,
            monitor,
            checkpointer,
            reporter,
            first=first,
            seconds=seconds,
            look_every=look_every(learner.plan.steps, recipe.guard.every),
            log_every=recipe.run.log_every,
            guard_stops=recipe.guard.stop,
            patience=max(1, round(recipe.guard.patience * learner.plan.steps)),
            most_seconds=seconds_to_train(
                job.minutes, time.monotonic() - begin + promised, recipe.guard.blend, per_look
            ),
        )
    if result.early:
        reporter.line(f"ended at step {result.steps} of {learner.plan.steps}: {result.early}")
    if world.is_main:
        outcome = close_run(job, context, folder, (probe, holdout_probe), checkpointer, result, labels, reporter, begin)
        status = "stopped" if result.trouble else "finished"
        folder.write({**manifest, "status": status, "seconds": round(outcome.seconds, 1), "outcome": outcome.to_dict()})
    if result.trouble:
        kept_words = f"the original weights are in {folder.backbone}"
        raise TrainingStopped(f"step {result.steps}: {result.trouble}; {advice(result.trouble)}; {kept_words}")
    if not world.is_main:
        return None
    mark_latest(folder)
    return outcome


def _open(job: TrainOptions) -> contextlib.AbstractContextManager[RunFolder]:
    return open_run(job.command, job.inputs[0] if job.inputs else "", job.out, resume=job.resume, force=job.force)


def _useful(labels: Labels, context: TrainContext, reporter: ProgressReporter) -> Labels:
    """Take the labels of the images that can be read, and of the columns those by which something can be measured."""
    place = {name: row for row, name in enumerate(context.images.names)}
    rows = [place[name] for name in context.store.names]
    useful = of_several_kinds({column: [values[row] for row in rows] for column, values in labels.items()})
    for column in labels:
        if column not in useful:
            reporter.warn(f"the labels {column} have fewer than two kinds: nothing can be measured by them")
    return useful


def _fit_into(
    job: TrainOptions,
    context: TrainContext,
    loader: Loader,
    begin: float,
    apart: float,
    per_look: float,
    reporter: ProgressReporter,
) -> None:
    """Cut the run to `--minutes`; "auto" values that depend on the steps are resolved again.

    Args:
        job: What was asked for.
        context: Gets the recipe that fits.
        loader: Of the run.
        begin: When the time began.
        apart: Seconds of what comes before the first step and after the looks.
        per_look: Seconds of a look.
        reporter: Hears what fits.
    """
    per_step = seconds_per_step(context, loader)
    left = 60 * job.minutes - (time.monotonic() - begin) - apart
    budget = from_main(lambda: within(left, context.recipe, per_step, per_look))
    planned, looks = int(context.recipe.run.steps), f"{budget.looks} looks"
    if budget.blend != context.recipe.guard.blend:
        looks += " without mixes"
    speed = f"{per_step[1]:.2g} s a step, {per_look:.2g} s a look"
    if budget.steps == planned:
        reporter.line(f"{job.minutes:g} minutes are enough for all {planned} steps and {looks} ({speed})")
    else:
        reporter.warn(
            f"{job.minutes:g} minutes are {budget.steps} of the {planned} planned steps and {looks} "
            f"on this machine ({speed}); more minutes may give more"
        )
    context.recipe = context.resolved(with_values(job.recipe, budget.settings()))


def _compile(context: TrainContext, learner: Learner, loader: Loader, reporter: ProgressReporter) -> None:
    if not context.recipe.run.compile:
        return
    trial = build_learner(context.recipe, context.backbone, context.preprocess, context.precision, context.world)

    def one_step() -> None:
        train_step(trial, next(loader.steps(0, 1)), 0)

    reason = compile_backbones(trial, one_step)
    if reason:
        reporter.warn(f"torch.compile does not work here, going on without it: {reason}")
        context.recipe = with_values(context.recipe, {"run.compile": False})
    else:
        compile_backbones(learner, lambda: None)


@contextlib.contextmanager
def _interruptions(folder: RunFolder, manifest: dict[str, Any], *, writes: bool) -> Iterator[None]:
    """Note in run.json that a signal ended the run, and say how to go on."""
    try:
        yield
    except Interrupted as interrupted:
        if writes:
            folder.write({**manifest, "status": "interrupted"})
        words = f"{interrupted} in {folder.path}; run the same command with --resume to go on"
        raise Interrupted(words, interrupted.signal) from None
