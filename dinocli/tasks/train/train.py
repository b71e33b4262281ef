"""`dinocli.train`: continue DINO training, and judge whether it helped."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import torch

from dinocli.artifacts.run_folder import RunFolder, mark_latest, open_run
from dinocli.config.guard_plan import probe_every
from dinocli.engine import distributed
from dinocli.engine.build import build_checkpointer, build_monitor
from dinocli.engine.collapse import advice
from dinocli.engine.compilation import compile_learner
from dinocli.engine.distributed import from_main, open_world
from dinocli.engine.focus_maps import build_focus
from dinocli.engine.initialize import initialize
from dinocli.engine.loop import LoopOptions, RunResult, Trainer, run, run_probe
from dinocli.engine.step_profile import ProfiledLoader
from dinocli.errors import Interrupted, TrainingStopped, counted
from dinocli.progress import LogReporter, ProgressReporter
from dinocli.stored import json_safe
from dinocli.tasks.train.batch_fit import advising_batch_size, fit_batch_to_memory
from dinocli.tasks.train.budget import TrainPlan, make_plan, seconds_to_train
from dinocli.tasks.train.manifest import begin_folder, make_manifest
from dinocli.tasks.train.run_report import TrainResult, report
from dinocli.tasks.train.select import Trained, select
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train_context import TrainContext
from dinocli.tasks.train.train_options import TrainOptions


def train(
    options: TrainOptions,
    reporter: ProgressReporter | None = None,
    stdin: BinaryIO | None = None,
    started: float | None = None,
) -> TrainResult | None:
    """Continue DINO training on a folder of images, judge the result, and write a run folder.

    Example:
        >>> recipe = dinocli.load_recipe(["gentle", "grey"], ["run.steps=500"])
        >>> result = dinocli.train(dinocli.TrainOptions(("images",), recipe, out="runs/mine", force=True))
        >>> (result.folder / "backbone" / "model.safetensors").is_file()
        True

    Args:
        options: Images, recipe and run folder.
        reporter: Receives the progress.
        stdin: Standard input, for `-`.
        started: Monotonic time from which `--minutes` counts, seconds; default: now.

    Returns:
        The result in the main process; None in the other processes of `torchrun`.

    Raises:
        DinocliError: Any error; a run that the guard stopped still writes its report and the original weights.
        Interrupted: A signal stopped the run, after a checkpoint.
    """
    started = time.monotonic() if started is None else started
    world, _ = open_world(options.device)
    reporter = (reporter or LogReporter()) if world.is_main else ProgressReporter()
    held = contextlib.ExitStack()
    try:
        options.check_out()
        first = next(iter(options.inputs), "")
        opened = open_run(options.command, first, options.out, resume=options.resume, force=options.force)
        folder = from_main(lambda: held.enter_context(opened))
        reporter.stage("listing images")
        images = list_images(options, stdin)
        for line in (f"{counted(len(images), 'image')} in {images.root}", *images.notes):
            reporter.line(line)
        stored = folder.read() if options.resume and folder.has_started else None
        if stored and "threads" in stored:  # floating-point sums depend on the number of threads
            held.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(int(stored["threads"]))
        context = fit_batch_to_memory(setup(options, images, reporter, manifest=stored, started=started))
        with advising_batch_size(context, context.recipe):
            plan = make_plan(context)
        manifest = stored or make_manifest(context, plan)
        result = None
        with _interruptions(folder, manifest, reporter, writes=world.is_main):
            with advising_batch_size(context, plan.recipe):
                trained = _train(context, plan, folder, manifest)
            if world.is_main:
                selection = select(context, plan, trained)
                result = report(context, plan, trained, selection, folder)
                _close(folder, manifest, result, stopped=bool(trained.result.stop_reason))
        _raise_if_stopped(trained.result, folder)
        return result
    finally:
        held.close()
        distributed.leave()


def _train(context: TrainContext, plan: TrainPlan, folder: RunFolder, manifest: dict[str, Any]) -> Trained:
    """Measure the start, build the learner, initialize or restore it, and run the training loop."""
    recipe, loader, reporter = plan.recipe, context.loader(plan.recipe), context.reporter
    probe, holdout_probe = context.probes(loader, recipe)
    reporter.line(f"the guard probes {len(probe.indices)} images")
    reporter.stage("measuring the start", probe.images_per_measurement)
    began = time.monotonic()
    start = from_main(lambda: probe.measure(context.backbone, 0))
    forwards = len(probe.indices) * context.forwards_per_probe_image(recipe)
    seconds_per_forward = from_main(lambda: (time.monotonic() - began) / forwards)
    reporter.stage("building student and teacher")
    learner = context.learner(recipe)
    learner.multicrop.focus = from_main(
        lambda: build_focus(context.backbone, loader, recipe.views.focus, context.preprocess, reporter)
    )
    if recipe.run.compile:
        compile_learner(learner)
    if not context.resumed:
        from_main(lambda: begin_folder(folder, context, plan, learner, loader, manifest))
        if folder.previous.is_dir():
            reporter.line(f"the run that was here is kept in {folder.previous} until this one has ended")
    checkpointer = build_checkpointer(recipe, folder.checkpoints, context.world)
    monitor = build_monitor(recipe, folder.path, context.world)
    with monitor.closed_on_failure():
        profiles = context.options.profile and context.world.is_main
        source = ProfiledLoader(loader, folder.profile, reporter) if profiles else loader
        trainer = Trainer(learner, source, probe, monitor, checkpointer, reporter)
        first_step, seconds = 0, 0.0
        if context.resumed and checkpointer.last.is_file():
            first_step, seconds = checkpointer.restore(learner, monitor)
            reporter.line(f"continuing after step {first_step} of {learner.schedule.steps}")
        else:
            monitor.begin(start)
            initialize(learner, loader, recipe, context.preprocess, reporter)
            if recipe.model.batch_norm == "adapted":
                run_probe(trainer, 0)
        limit = seconds_to_train(context, plan, seconds_per_forward)
        result = run(trainer, loop_options(plan, first_step, seconds, limit))
        if result.early_end:
            reporter.line(f"ended at step {result.steps} of {learner.schedule.steps}: {result.early_end}")
    return Trained(result, checkpointer.best, probe, holdout_probe, seconds_per_forward)


def loop_options(plan: TrainPlan, first_step: int, seconds_before: float, max_seconds: float) -> LoopOptions:
    """Convert settings that are fractions of the run to steps."""
    guard, steps = plan.recipe.guard, int(plan.recipe.run.steps)
    return LoopOptions(
        first_step=first_step,
        seconds_before=seconds_before,
        probe_every=probe_every(steps, guard.every),
        log_every=plan.recipe.run.log_every,
        patience=max(1, round(guard.patience * steps)),
        guard_stops=guard.stop,
        max_seconds=max_seconds,
    )


def _close(folder: RunFolder, manifest: dict[str, Any], result: TrainResult, *, stopped: bool) -> None:
    status = "stopped" if stopped else "finished"
    outcome = json_safe(result.to_dict())
    folder.write({**manifest, "status": status, "seconds": round(result.seconds, 1), "outcome": outcome})
    if not stopped:
        mark_latest(folder)


def _raise_if_stopped(result: RunResult, folder: RunFolder) -> None:
    if result.stop_reason:
        kept = f"the original weights are in {folder.backbone}"
        raise TrainingStopped(f"step {result.steps}: {result.stop_reason}; {advice(result.stop_reason)}; {kept}")


@contextlib.contextmanager
def _interruptions(
    folder: RunFolder, manifest: dict[str, Any], reporter: ProgressReporter, *, writes: bool
) -> Iterator[None]:
    """On a signal, set the status in run.json to interrupted, and say how to resume.

    The loop turns signals into `Interrupted`; before and after it they end the process.
    """
    how = "run the same command with --resume to continue"
    try:
        yield
    except (Interrupted, KeyboardInterrupt, SystemExit) as ended:
        if writes and folder.has_started:
            folder.write({**manifest, "status": "interrupted"})
            if not isinstance(ended, Interrupted):
                reporter.warn(f"{folder.path} is not finished; {how}")
        if isinstance(ended, Interrupted):
            raise Interrupted(f"{ended} in {folder.path}; {how}", ended.signal) from None
        raise
