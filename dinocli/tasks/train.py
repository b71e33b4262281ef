"""Train, then say whether it helped: the one library call behind `pretrain` and every recipe of it."""

import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dinocli import __version__
from dinocli.config.load import differences, to_toml, with_values
from dinocli.data.cache import write_bad
from dinocli.data.loader import Loader
from dinocli.data.sources import ImageList
from dinocli.engine import distributed
from dinocli.engine.build import build_learner, compile_backbones, fill_center
from dinocli.engine.distributed import from_main
from dinocli.engine.monitor import Monitor, advice
from dinocli.engine.probe import Probe
from dinocli.engine.step import Learner, train_step
from dinocli.engine.train import Keeper, RunResult, run
from dinocli.engine.watch import Watcher
from dinocli.errors import Interrupted, TrainingStopped, UsageError
from dinocli.files import write_whole
from dinocli.models.weights import save_backbone
from dinocli.quality.verdict import Verdict
from dinocli.report.sheet import contact_sheet
from dinocli.tasks.closing import Line, adapted_backbone, final_verdict, label_lines, score_lines, write_run_report
from dinocli.tasks.ground import (
    Ground,
    Job,
    describe,
    list_images,
    open_world,
    prepare,
    seconds_per_step,
    steps_within,
)
from dinocli.tasks.labels import Labels, read_labels
from dinocli.tasks.run_folder import RunFolder, mark_latest, open_run

SHEET_IMAGES = 8
KNOWN_WEAKNESS = (
    "Finding an image by an augmented view of it rewards invariance to the very changes that the training asks for: a "
    "run can learn to ignore a defect together with the noise around it, and score better. Where you have labels for a "
    "few images, give them with --labels and let them have the last word."
)


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
            _check_same(job, images, kept)
        ground = prepare(job, images, world, device, watcher, kept)
        return _train(job, ground, folder, kept, labels, watcher, begin)
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
    if job.minutes and not kept:
        _fit_into(job, ground, begin, time.monotonic() - looked, watcher)
    learner = build_learner(ground.recipe, ground.backbone, ground.preprocess, ground.precision, world)
    _compile(ground, learner, loader, watcher)
    manifest = kept or _manifest(job, ground)
    if world.is_main and not kept:
        _begin_folder(folder, ground, learner, loader, manifest)
    keeper, monitor = _keeper(ground, folder), _monitor(ground, folder)
    first, seconds = 0, 0.0
    if kept and keeper.last.is_file():
        first, seconds = keeper.restore(learner, monitor)
        watcher.line(f"going on after step {first} of {learner.plan.steps}")
    else:
        monitor.begin(start)
        fill_center(learner, loader, ground.recipe.dino.center_batches)
    result = _loop(ground, learner, loader, probe, monitor, keeper, watcher, first, seconds, folder, manifest)
    if world.is_main:
        outcome = _close(job, ground, folder, jury, keeper, result, labels, watcher, begin)
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


def _check_same(job: Job, images: ImageList, kept: dict[str, Any]) -> None:
    """Refuse to go on with a run on other images or with another recipe.

    Raises:
        UsageError: With the difference.
    """
    if kept["status"] in ("finished", "stopped"):
        raise UsageError(f"this run is {kept['status']} already, see its report.html; start another without --resume")
    changed = differences(kept["request"], job.request())
    if changed:
        raise UsageError(f"--resume needs the same recipe as before; changed: {'; '.join(changed)}")
    if kept["inputs_hash"] != images.digest():
        raise UsageError(
            f"--resume needs the same images: there were {kept['images_listed']}, now there are {len(images)}, "
            "or some of them have changed; start a new run"
        )


def _fit_into(job: Job, ground: Ground, begin: float, look_seconds: float, watcher: Watcher) -> None:
    """Turn `--minutes` into steps, once; "auto" values that depend on the steps are resolved again."""
    per_step = seconds_per_step(ground)
    budget = 60 * job.minutes - (time.monotonic() - begin)
    steps = from_main(lambda: steps_within(budget, ground.recipe, per_step, look_seconds))
    watcher.line(f"{job.minutes:g} minutes are {steps} steps on this machine ({per_step[1]:.2g} s a step)")
    ground.settle(with_values(job.recipe, {"run.steps": steps}))


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


def _manifest(job: Job, ground: Ground) -> dict[str, Any]:
    """Gather what run.json keeps: enough to repeat the run, to resume it, and to check both."""
    return {
        "command": job.command,
        "argv": list(job.argv),
        "status": "running",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "inputs": [name if name == "-" else str(Path(name).absolute()) for name in job.inputs],
        "root": str(ground.images.root),
        "inputs_hash": ground.images.digest(),
        "images_listed": len(ground.images),
        "images": len(ground.store),
        "bad": len(ground.store.bad),
        "request": job.request(),
        "recipe": ground.recipe.model_dump(mode="json"),
        "preprocess": ground.preprocess.to_dict(),
        "weights": ground.info.to_dict(),
        "device": str(ground.precision.device),
        "processes": ground.world.size,
        "versions": {
            "dinocli": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "timm", "kornia", "numpy", "pillow")},
        },
    }


def _begin_folder(
    folder: RunFolder, ground: Ground, learner: Learner, loader: Loader, manifest: dict[str, Any]
) -> None:
    """Write what is known before the first step. run.json comes last: it says that a run can be resumed."""
    folder.clear()
    folder.checkpoints.mkdir(parents=True)
    _views_sheet(folder, learner, loader)
    if ground.store.bad:
        write_bad(folder.bad, ground.store.bad)
    write_whole(folder.recipe, to_toml(ground.recipe))
    folder.write(manifest)


def _views_sheet(folder: RunFolder, learner: Learner, loader: Loader) -> None:
    """Show every view of a few images, evenly spread over the folder."""
    count = len(loader.store)
    chosen = sorted({round(place) for place in np.linspace(0, count - 1, min(SHEET_IMAGES, count))})
    (batch,) = loader.whole(chosen, len(chosen))
    pictures = learner.views.preview(batch.pixels_BCHW, batch.sizes_B2, step=0)
    columns = ["global 1", "global 2", *(f"local {number + 1}" for number in range(len(pictures) - 2))]
    rows = [[view[row] for view in pictures] for row in range(len(batch.rows))]
    contact_sheet(folder.views, rows, column_labels=columns, row_labels=[loader.store.names[i] for i in batch.rows])


def _keeper(ground: Ground, folder: RunFolder) -> Keeper:
    run_section = ground.recipe.run
    return Keeper(
        folder.checkpoints,
        every=run_section.save_every,
        minutes=run_section.save_minutes,
        writes=ground.world.is_main,
    )


def _monitor(ground: Ground, folder: RunFolder) -> Monitor:
    recipe = ground.recipe
    steps = int(recipe.run.steps)
    window = max(1, round(recipe.guard.window * steps))
    return Monitor(
        folder.metrics if ground.world.is_main else None,
        prototypes=int(recipe.head.out_dim),
        batch_size=int(recipe.run.batch_size),
        armed_at=round(float(recipe.optim.head_warmup) * steps) + window,
        window=window,
        tensorboard=folder.path / "tensorboard" if recipe.run.tensorboard and ground.world.is_main else None,
    )


def _loop(
    ground: Ground,
    learner: Learner,
    loader: Loader,
    probe: Probe,
    monitor: Monitor,
    keeper: Keeper,
    watcher: Watcher,
    first: int,
    seconds: float,
    folder: RunFolder,
    manifest: dict[str, Any],
) -> RunResult:
    recipe = ground.recipe
    try:
        return run(
            learner,
            loader,
            probe,
            monitor,
            keeper,
            watcher,
            first=first,
            seconds=seconds,
            look_every=max(1, round(recipe.guard.every * learner.plan.steps)),
            log_every=recipe.run.log_every,
            guard_stops=recipe.guard.stop,
        )
    except Interrupted as interrupted:
        if ground.world.is_main:
            folder.write({**manifest, "status": "interrupted"})
        words = f"{interrupted} in {folder.path}; run the same command with --resume to go on"
        raise Interrupted(words, interrupted.signal) from None


def _close(
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
    watcher.line(f"judging step {best_step} against the start, on {len(jury.indices)} other images")
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
