"""Train, then say whether it helped: the one library call behind `pretrain` and every recipe of it."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from dinocli.config.load import with_values
from dinocli.data.loader import Loader
from dinocli.engine import distributed
from dinocli.engine.build import build_keeper, build_learner, build_monitor, compile_backbones
from dinocli.engine.distributed import from_main
from dinocli.engine.monitor import advice
from dinocli.engine.ready import get_ready
from dinocli.engine.step import Learner, train_step
from dinocli.engine.train import look_at, run
from dinocli.engine.watch import Watcher
from dinocli.errors import Interrupted, TrainingStopped
from dinocli.tasks.budget import (
    look_every,
    looks_to_get_ready,
    looks_to_measure,
    seconds_per_step,
    seconds_to_train,
    within,
)
from dinocli.tasks.closing import Outcome, close_run, measured
from dinocli.tasks.ground import Ground, Job, list_images, open_world, prepare
from dinocli.tasks.labels import Labels, of_several_kinds, read_labels
from dinocli.tasks.opening import begin_folder, check_same, make_manifest
from dinocli.tasks.run_folder import RunFolder, mark_latest, open_run


def train(job: Job, watcher: Watcher | None = None, stdin: BinaryIO | None = None) -> Outcome | None:
    """Continue DINO on a folder of images, judge the result, and leave a run folder behind.

    Args:
        job: What to do.
        watcher: Hears how far it is.
        stdin: Where `-` reads names from.

    Returns:
        The outcome, in the main process; None in the others that `torchrun` started.

    Raises:
        DinocliError: Of every kind; a stopped run still leaves its report and the original weights.
        Interrupted: After a signal and a checkpoint.
    """
    world, device = open_world(job.device)
    watcher = watcher if watcher and world.is_main else Watcher()
    begin = time.monotonic()
    try:
        folder = from_main(lambda: _open(job))
        images = list_images(job, stdin)
        labels = read_labels(job.labels, images.names) if job.labels else {}
        kept = folder.read() if job.resume and folder.has_started else None
        if kept:
            check_same(job, images, kept)
        ground = prepare(job, images, world, device, watcher, kept)
        return _train(job, ground, folder, kept, _useful(labels, ground, watcher), watcher, begin)
    finally:
        distributed.leave()


def _train(
    job: Job,
    ground: Ground,
    folder: RunFolder,
    kept: dict[str, Any] | None,
    labels: Labels,
    watcher: Watcher,
    begin: float,
) -> Outcome | None:
    world, loader = ground.world, ground.loader()
    probe, jury = ground.probes(loader)
    watcher.line(f"measuring the start on {len(probe.indices)} probe images")
    looked = time.monotonic()
    start = from_main(lambda: probe.look(ground.backbone, 0))
    per_look = from_main(lambda: time.monotonic() - looked)
    promised = per_look * looks_to_measure(len(measured(labels)), probe.work)
    if job.minutes and not kept:
        ready = per_look * looks_to_get_ready(ground.recipe, len(ground.store), ground.preprocess.size, probe.work)
        _fit_into(job, ground, loader, begin, ready + promised, per_look, watcher)
    learner = build_learner(ground.recipe, ground.backbone, ground.preprocess, ground.precision, world)
    _compile(ground, learner, loader, watcher)
    manifest = kept or make_manifest(job, ground)
    if not kept:
        from_main(lambda: begin_folder(folder, ground, learner, loader, manifest))
    keeper = build_keeper(ground.recipe, folder.checkpoints, world)
    monitor = build_monitor(ground.recipe, folder.path, world)
    first, seconds = 0, 0.0
    if kept and keeper.last.is_file():
        first, seconds = keeper.restore(learner, monitor)
        watcher.line(f"going on after step {first} of {learner.plan.steps}")
    else:
        monitor.begin(start)
        get_ready(learner, loader, ground.recipe, ground.preprocess, watcher)
        if ground.recipe.model.batch_norm == "adapted":
            look_at(learner, probe, monitor, keeper, 0)
    recipe = ground.recipe
    with _interruptions(folder, manifest, writes=world.is_main):
        result = run(
            learner,
            loader,
            probe,
            monitor,
            keeper,
            watcher,
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
        watcher.line(f"ended at step {result.steps} of {learner.plan.steps}: {result.early}")
    if world.is_main:
        outcome = close_run(job, ground, folder, (probe, jury), keeper, result, labels, watcher, begin)
        status = "stopped" if result.trouble else "finished"
        folder.write({**manifest, "status": status, "seconds": round(outcome.seconds, 1), "outcome": outcome.to_dict()})
    if result.trouble:
        kept_words = f"the original weights are in {folder.backbone}"
        raise TrainingStopped(f"step {result.steps}: {result.trouble}; {advice(result.trouble)}; {kept_words}")
    if not world.is_main:
        return None
    mark_latest(folder)
    return outcome


def _open(job: Job) -> RunFolder:
    return open_run(job.command, job.inputs[0] if job.inputs else "", job.out, resume=job.resume, force=job.force)


def _useful(labels: Labels, ground: Ground, watcher: Watcher) -> Labels:
    """Take the labels of the images that can be read, and of the columns those by which something can be measured."""
    place = {name: row for row, name in enumerate(ground.images.names)}
    rows = [place[name] for name in ground.store.names]
    useful = of_several_kinds({column: [values[row] for row in rows] for column, values in labels.items()})
    for column in labels:
        if column not in useful:
            watcher.warn(f"the labels {column} have fewer than two kinds: nothing can be measured by them")
    return useful


def _fit_into(
    job: Job, ground: Ground, loader: Loader, begin: float, apart: float, per_look: float, watcher: Watcher
) -> None:
    """Cut the run to `--minutes`; "auto" values that depend on the steps are resolved again.

    Args:
        job: What was asked for.
        ground: Gets the recipe that fits.
        loader: Of the run.
        begin: When the time began.
        apart: Seconds of what comes before the first step and after the looks.
        per_look: Seconds of a look.
        watcher: Hears what fits.
    """
    per_step = seconds_per_step(ground, loader)
    left = 60 * job.minutes - (time.monotonic() - begin) - apart
    budget = from_main(lambda: within(left, ground.recipe, per_step, per_look))
    planned, looks = int(ground.recipe.run.steps), f"{budget.looks} looks"
    if budget.blend != ground.recipe.guard.blend:
        looks += " without mixes"
    speed = f"{per_step[1]:.2g} s a step, {per_look:.2g} s a look"
    if budget.steps == planned:
        watcher.line(f"{job.minutes:g} minutes are enough for all {planned} steps and {looks} ({speed})")
    else:
        watcher.warn(
            f"{job.minutes:g} minutes are {budget.steps} of the {planned} planned steps and {looks} "
            f"on this machine ({speed}); more minutes may give more"
        )
    ground.recipe = ground.resolved(with_values(job.recipe, budget.settings()))


def _compile(ground: Ground, learner: Learner, loader: Loader, watcher: Watcher) -> None:
    if not ground.recipe.run.compile:
        return
    trial = build_learner(ground.recipe, ground.backbone, ground.preprocess, ground.precision, ground.world)

    def one_step() -> None:
        train_step(trial, next(loader.steps(0, 1)), 0)

    reason = compile_backbones(trial, one_step)
    if reason:
        watcher.warn(f"torch.compile does not work here, going on without it: {reason}")
        ground.recipe = with_values(ground.recipe, {"run.compile": False})
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
