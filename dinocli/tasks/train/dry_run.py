"""`--dry-run`: forecast the time and memory of a run from a few of its images."""

import math
import resource
import sys
from dataclasses import replace
from typing import Any, BinaryIO

import torch

from dinocli.config.guard_plan import probe_count
from dinocli.config.load import with_values
from dinocli.config.recipe import Recipe
from dinocli.data.canvas import shrunk_size
from dinocli.data.labels import multiclass_columns, read_labels
from dinocli.data.memory_budget import memory_budget
from dinocli.data.resident import resident_budget
from dinocli.engine import distributed
from dinocli.engine.costs import measure_costs
from dinocli.engine.distributed import open_world
from dinocli.engine.run_seconds import Costs, RunSeconds
from dinocli.engine.step_memory import PROCESS_OVERHEAD, StepMemory
from dinocli.errors import counted
from dinocli.progress import ProgressReporter
from dinocli.tasks.train.batch_fit import largest_batch, limit_batch, measure_memory, step_bytes
from dinocli.tasks.train.budget import fit_plan, labelled_images
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train_context import TrainContext
from dinocli.tasks.train.train_options import TrainOptions

TRIAL_IMAGES = 64


def dry_run(options: TrainOptions, reporter: ProgressReporter, stdin: BinaryIO | None = None) -> dict[str, Any] | None:
    """Measure a few steps on a few images of the folder; nothing is written.

    Args:
        options: Options of the run.
        reporter: Receives the progress.
        stdin: Standard input, for `-`.

    Returns:
        JSON-like data in the main process; None in the other processes of `torchrun`. Seconds are measured on this
        machine. `minutes` covers all parts of the run except decoding the images; `guard_share` is the fraction for
        probes and verdict. `peak_memory_bytes` is extrapolated from small steps: memory of the GPU, or of the process
        with its decoded images (`canvas_bytes`). `recipe` is resolved with near-duplicates counted among a few images
        that are spread over the folder: for frames of a video, a run may resolve it to smaller sizes.
    """
    world, _ = open_world(options.device)
    reporter = reporter if world.is_main else ProgressReporter()
    try:
        images = list_images(options, stdin)
        labels = multiclass_columns(read_labels(options.labels, images.names, reporter.line)) if options.labels else {}
        streams = options.recipe.data.cache == "off" or world.size > 1  # else the few images are decoded into memory
        trial = with_values(options.recipe, {"data.cache": "off" if streams else "auto"})
        few = images.spread(TRIAL_IMAGES)
        for line in (
            f"{counted(len(images), 'image')} in {images.root}; measuring on {len(few)} of them",
            *images.notes,
        ):
            reporter.line(line)
        context = _for_whole_folder(
            setup(replace(options, recipe=trial, labels=""), few, reporter), options, len(images)
        )
        held = _memory_held(context.precision.device)
        memory = measure_memory(context, context.recipe)
        context = limit_batch(context, memory)
        reporter.stage("timing a few steps")
        learner, loader = context.learner(context.recipe), context.loader(context.recipe)
        start = context.backbone, context.preprocess, context.teacher
        costs = measure_costs(learner, loader, context.recipe, *start)
        plan, seconds = fit_plan(context, costs, labelled_images(labels), 60 * options.minutes or math.inf)
        recipe = plan.recipe
        forecast = _forecast(context, recipe, seconds, costs)
        forecast["peak_memory_bytes"] = held + _memory_needed(context, recipe, memory, forecast["canvas_bytes"])
        forecast["largest_batch_size"] = largest_batch(world, recipe, memory)
        return forecast | {"recipe": recipe.model_dump(mode="json")} if world.is_main else None
    finally:
        distributed.leave()


def _for_whole_folder(context: TrainContext, options: TrainOptions, images: int) -> TrainContext:
    """Return the context of a run on the whole folder, from that of a few of its images."""
    distinct = round(images * context.distinct / len(context.store))
    context = replace(context, options=options, count=images, distinct=distinct)
    return replace(context, recipe=context.resolved(options.recipe))


def _forecast(context: TrainContext, recipe: Recipe, seconds: RunSeconds, costs: Costs) -> dict[str, Any]:
    survey, preprocess, guard = context.survey, context.preprocess, recipe.guard
    assert survey is not None
    height, width = shrunk_size(*survey.median_size, recipe.data.short_side)
    probe_images = min(int(guard.probe_images), context.count)
    return {
        "images": context.count,
        "measured_images": len(context.images),
        "dtypes": dict(survey.dtypes),
        "median_size": survey.median_size,
        "grey": survey.grey,
        "range": preprocess.describe_range(),
        "start": context.info.describe(),
        "teacher": f"{context.teacher.info.describe()}; frozen" if context.teacher else "average of the student",
        "device": f"{context.precision.device}, {context.precision.name}",
        "steps": int(recipe.run.steps),
        "batch_size": int(recipe.run.batch_size),
        "probes": probe_count(recipe, guard.every, guard.weight_interpolation),
        "probe_images": probe_images,
        "guard_share": round(seconds.guard_share, 3),
        "seconds_per_step": round(costs.step, 4),
        "seconds_per_probe": round(costs.probe_image * probe_images, 4),
        "minutes": round(seconds.total / 60, 1),
        "canvas_bytes": context.count * preprocess.canvas_channels * height * width * (2 if survey.deep else 1),
    }


def _memory_held(device: torch.device) -> int:
    """Return the memory in use before the first step, bytes: tensors on the GPU, or this process."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _memory_needed(context: TrainContext, recipe: Recipe, memory: StepMemory, canvas_bytes: int) -> int:
    """Return the memory of networks, steps and decoded images, in bytes."""
    kind = context.precision.device.type
    budget = resident_budget(context.precision.device) if kind == "cuda" else memory_budget()
    resident = canvas_bytes <= budget and recipe.data.cache != "off" and (kind == "cuda" or context.world.size == 1)
    networks = 2 * sum(value.nbytes for value in context.backbone.state_dict().values())
    step = step_bytes(context.world, recipe, memory) * PROCESS_OVERHEAD[kind]
    return int(networks + step + (canvas_bytes if resident else 0))
