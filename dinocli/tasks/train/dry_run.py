"""`--dry-run`: what a run would do, with time and memory, measured on a few real images."""

import resource
import sys
from dataclasses import replace
from typing import Any, BinaryIO

import torch

from dinocli.config.guard_plan import probe_count
from dinocli.config.load import with_values
from dinocli.config.recipe import Recipe
from dinocli.data.labels import multiclass_columns, read_labels
from dinocli.data.memory_budget import memory_budget
from dinocli.data.read import shrunk_size
from dinocli.data.resident import resident_budget
from dinocli.engine import distributed
from dinocli.engine.distributed import open_world
from dinocli.engine.run_seconds import Costs, RunSize, run_seconds
from dinocli.engine.step_memory import PROCESS_OVERHEAD, StepMemory
from dinocli.progress import ProgressReporter
from dinocli.tasks.inputs import describe_range, describe_weights
from dinocli.tasks.train.batch_fit import limited_by, measure_memory
from dinocli.tasks.train.budget import fit_steps, labelled_images, labels_within, probe_work
from dinocli.tasks.train.costs import measure_costs
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train_context import TrainContext
from dinocli.tasks.train.train_options import TrainOptions

TRIAL_IMAGES = 64


def dry_run(options: TrainOptions, reporter: ProgressReporter, stdin: BinaryIO | None = None) -> dict[str, Any] | None:
    """Measure a few steps on a few images of the folder; nothing is written.

    Args:
        options: What would be done.
        reporter: Is told what was found.
        stdin: Where `-` reads names from.

    Returns:
        JSON-like data, in the main process; None in the others that `torchrun` started. Seconds are measured on this
        machine: `minutes` are those of all parts of the run, and reading the images comes on top; `guard_share` is what
        probes and verdict take of them. `peak_memory_bytes` is computed from small steps: of the GPU, or of the process
        with its decoded images (`canvas_bytes`). In `recipe` near-copies were counted among few images that lie apart:
        a folder of video frames may resolve to smaller sizes.
    """
    world, _ = open_world(options.device)
    reporter = reporter if world.is_main else ProgressReporter()
    try:
        images = list_images(options, stdin)
        labels = multiclass_columns(read_labels(options.labels, images.names, reporter.line)) if options.labels else {}
        streams = options.recipe.data.cache == "off" or world.size > 1  # else the few images are decoded into memory
        trial = with_values(options.recipe, {"data.cache": "off" if streams else "auto"})
        few = images.spread(TRIAL_IMAGES)
        for line in (f"{len(images)} images in {images.root}; measuring on {len(few)} of them", *images.notes):
            reporter.line(line)
        context = setup(replace(options, recipe=trial, labels=""), few, reporter)
        distinct = round(len(images) * context.distinct / len(context.store))

        def resolved(limited: TrainContext) -> Recipe:
            return limited.resolved(options.recipe, len(images), distinct)

        held = _memory_held(context.precision.device)
        memory = measure_memory(context, resolved(context))
        context = limited_by(context, memory, resolved(context), resolved)
        planned = resolved(context)
        reporter.stage("timing a few steps")
        costs = measure_costs(context, planned, context.loader(planned))
        labelled = labels_within(options.minutes, labelled_images(labels), costs)
        size = RunSize(len(images), context.preprocess.size, len(labelled))

        # Only a run with a limit measures before it plans.
        work = probe_work(planned, costs) if options.minutes else 0.0

        def with_steps(steps: int) -> Recipe:
            requested = with_values(options.recipe, {"run.steps": steps})
            return context.resolved(requested, len(images), distinct, work)

        limit = 60 * options.minutes or float("inf")
        recipe = fit_steps(limit, with_steps(int(planned.run.steps)), with_steps, size, costs)
        found = _forecast(context, recipe, size, costs)
        found["peak_memory_bytes"] = held + _memory_needed(context, recipe, memory, found["canvas_bytes"])
        found["largest_batch_size"] = memory.fits(world.size * int(recipe.optim.grad_accum_steps))
        return found | {"recipe": recipe.model_dump(mode="json")} if world.is_main else None
    finally:
        distributed.leave()


def _forecast(context: TrainContext, recipe: Recipe, size: RunSize, costs: Costs) -> dict[str, Any]:
    survey, preprocess, guard = context.survey, context.preprocess, recipe.guard
    assert survey is not None
    height, width = shrunk_size(*survey.median_size, recipe.data.short_side)
    seconds = run_seconds(recipe, size, costs)
    probe_images = min(int(guard.probe_images), size.images)
    return {
        "images": size.images,
        "measured_images": len(context.images),
        "dtypes": dict(survey.dtypes),
        "median_size": survey.median_size,
        "grey": survey.grey,
        "range": describe_range(preprocess),
        "start": describe_weights(context.info),
        "teacher": f"{describe_weights(context.teacher.info)}; frozen" if context.teacher else "average of the student",
        "device": f"{context.precision.device}, {context.precision.name}",
        "steps": int(recipe.run.steps),
        "batch_size": int(recipe.run.batch_size),
        "probes": probe_count(recipe, guard.every, guard.weight_interpolation),
        "probe_images": probe_images,
        "guard_share": round(seconds.guard_share, 3),
        "seconds_per_step": round(costs.step, 4),
        "seconds_per_probe": round(costs.probe_image * probe_images, 4),
        "minutes": round(seconds.total / 60, 1),
        "canvas_bytes": size.images * preprocess.canvas_channels * height * width * (2 if survey.deep else 1),
    }


def _memory_held(device: torch.device) -> int:
    """Return what is taken before the first step: by tensors on the GPU, or by this process so far."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _memory_needed(context: TrainContext, recipe: Recipe, memory: StepMemory, canvas_bytes: int) -> int:
    """Return the memory of networks, steps and decoded images, in bytes."""
    kind, parts = context.precision.device.type, context.world.size * int(recipe.optim.grad_accum_steps)
    most = resident_budget(context.precision.device) if kind == "cuda" else memory_budget()
    kept = canvas_bytes <= most and recipe.data.cache != "off" and (kind == "cuda" or context.world.size == 1)
    networks = 2 * sum(value.nbytes for value in context.backbone.state_dict().values())
    step = memory.bytes_for(int(recipe.run.batch_size) // parts) * PROCESS_OVERHEAD[kind]
    return int(networks + step + (canvas_bytes if kept else 0))
