"""`--dry-run`: what a run would do, with time and memory, measured on a few real images."""

import resource
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO

import numpy as np
import torch

from dinocli.config.load import with_values
from dinocli.data.loader import Loader
from dinocli.data.read import shrunk_size
from dinocli.engine import distributed
from dinocli.engine.distributed import from_main, open_world
from dinocli.engine.progress import ProgressReporter
from dinocli.tasks.inputs import describe_weights
from dinocli.tasks.labels import of_several_kinds, read_labels
from dinocli.tasks.train.budget import (
    looks_of,
    looks_to_get_ready,
    looks_to_measure,
    mean_step,
    seconds_per_step,
    within,
)
from dinocli.tasks.train.select import measured
from dinocli.tasks.train.setup import (
    TrainContext,
    TrainOptions,
    list_images,
    prepare,
)

TRIAL_IMAGES = 64


@dataclass(frozen=True)
class TrainForecast:
    """What a run would do.

    Args:
        images: Listed, unreadable ones included.
        dtypes: Number of sampled images of each dtype.
        median_size: Height and width, pixels.
        grey: No image of the sample has colour.
        range: What becomes black and white.
        start: The weights.
        device: Device and precision.
        steps: Of the run.
        batch_size: Images a step.
        seconds_per_step: With the whole network learning, measured.
        seconds_per_look: At the probe set, measured on fewer images.
        minutes: Of all steps, looks and the verdict; reading the images and writing the report come on top.
        canvas_bytes: Of all decoded images.
        peak_memory_bytes: Of a step, measured: on the GPU, or of this process.
        recipe: Every resolved setting. Near-copies were looked for among few images that lie apart: a folder of frames
            may come to smaller sizes.
    """

    images: int
    dtypes: dict[str, int]
    median_size: tuple[int, int]
    grey: bool
    range: str
    start: str
    device: str
    steps: int
    batch_size: int
    seconds_per_step: float
    seconds_per_look: float
    minutes: float
    canvas_bytes: int
    peak_memory_bytes: int
    recipe: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self)


def estimate(job: TrainOptions, reporter: ProgressReporter, stdin: BinaryIO | None = None) -> TrainForecast | None:
    """Measure a few steps on a few images of the folder; nothing is written.

    Args:
        job: What would be done.
        reporter: Hears what was found.
        stdin: Where `-` reads names from.

    Returns:
        The estimate, in the main process; None in the others that `torchrun` started.
    """
    world, device = open_world(job.device)
    reporter = reporter if world.is_main else ProgressReporter()
    try:
        images = list_images(job, stdin)
        labels = of_several_kinds(read_labels(job.labels, images.names, reporter.line)) if job.labels else {}
        chosen = np.linspace(0, len(images) - 1, min(TRIAL_IMAGES, len(images))).round().astype(int)
        few = replace(images, names=[images.names[row] for row in chosen])
        streams = job.recipe.data.cache == "off" or world.size > 1  # else the few images are decoded into memory
        trial = replace(job, recipe=with_values(job.recipe, {"data.cache": "off" if streams else "auto"}))
        context = prepare(trial, few, world, device, reporter)
        distinct = round(len(images) * context.distinct / len(context.store))
        context.recipe = context.resolved(job.recipe, len(images), distinct)
        loader = context.loader()
        per_step, (per_look, work) = seconds_per_step(context, loader), _time_of_a_look(context, loader, len(images))
        ready = looks_to_get_ready(context.recipe, len(images), context.preprocess.size, work)
        apart = per_look * (1 + ready + looks_to_measure(len(measured(labels)), work))
        if job.minutes:
            budget = within(60 * job.minutes - apart, context.recipe, per_step, per_look)
            context.recipe = context.resolved(with_values(job.recipe, budget.settings()), len(images), distinct)
        recipe = context.recipe
        looks = per_look * looks_of(int(recipe.run.steps), recipe.guard.every, recipe.guard.blend)
        seconds = apart + int(recipe.run.steps) * mean_step(recipe, per_step) + looks
        return _written(context, len(images), per_step[1], per_look, seconds) if world.is_main else None
    finally:
        distributed.leave()


def _time_of_a_look(context: TrainContext, loader: Loader, images: int) -> tuple[float, int]:
    """Time one look at the few images; return the seconds and the work of one at the probe set of the whole folder."""
    probe, _ = context.probes(loader)
    larger = min(int(context.recipe.guard.probe_images), images) / len(probe.indices)

    def look() -> float:
        probe.look(context.backbone, 0)  # the first one warms up
        began = time.monotonic()
        probe.look(context.backbone, 0)
        return time.monotonic() - began

    return larger * from_main(look), round(larger * probe.work)


def _written(context: TrainContext, images: int, per_step: float, per_look: float, seconds: float) -> TrainForecast:
    recipe, seen, about = context.recipe, context.survey, context.preprocess
    assert seen is not None
    height, width = shrunk_size(*seen.median_size, recipe.data.short_side)
    return TrainForecast(
        images=images,
        dtypes=dict(seen.dtypes),
        median_size=seen.median_size,
        grey=seen.grey,
        range="full" if about.range_policy == "full" else f"{about.range_low:g} to {about.range_high:g}",
        start=describe_weights(context.info),
        device=f"{context.precision.device}, {context.precision.name}",
        steps=int(recipe.run.steps),
        batch_size=int(recipe.run.batch_size),
        seconds_per_step=round(per_step, 4),
        seconds_per_look=round(per_look, 4),
        minutes=round(seconds / 60, 1),
        canvas_bytes=images * (1 if seen.grey else 3) * height * width * (2 if seen.deep else 1),
        peak_memory_bytes=_peak_memory(context.precision.device),
        recipe=recipe.model_dump(mode="json"),
    )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
