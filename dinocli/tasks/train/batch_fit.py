"""The batch size that memory allows: what was left to dinocli is cut to it, what was asked for is compared with it."""

import contextlib
import gc
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from dinocli.augment.multicrop import GLOBAL_VIEWS
from dinocli.config.auto import slices_are_exact
from dinocli.config.load import with_values
from dinocli.config.recipe import Recipe, Views
from dinocli.data.loader import Loader
from dinocli.engine.build import build_learner
from dinocli.engine.distributed import World, environment_number, from_main
from dinocli.engine.step_memory import MAX_BYTES_PER_PIXEL, SMALL_BATCH, StepMemory, measure_step_memory, usable_bytes
from dinocli.errors import OutOfMemory, is_out_of_memory
from dinocli.tasks.train.train_context import TrainContext


def within_memory(context: TrainContext) -> TrainContext:
    """Resolve the batch size by what fits into memory; a continued run keeps its own.

    Nothing is measured where the images of a step could take many times what any network needs.

    Args:
        context: Of `setup`.

    Returns:
        The context with its recipe resolved anew where memory is the limit; the reporter gets a line.
    """
    asked, recipe = context.options.recipe, context.recipe
    if context.resumed or (asked.run.batch_size != "max" and _has_plenty(context, recipe)):
        return context
    return limited_by(context, measure_memory(context, recipe), recipe, lambda limited: limited.resolved(asked))


def limited_by(
    context: TrainContext, memory: StepMemory, planned: Recipe, resolved: Callable[[TrainContext], Recipe]
) -> TrainContext:
    """Cut a batch size that was left to dinocli to what fits, or warn of one that was asked for.

    Args:
        context: Of the run, or of a trial.
        memory: Measured.
        planned: Resolved without a limit.
        resolved: Resolves what was asked for, with the limit of a context.
    """
    asked = context.options.recipe.run.batch_size
    parts = _parts(context.world, planned)
    most = max(memory.fits(parts), parts, 2)
    at_once, wanted = int(planned.run.batch_size) // parts, int(planned.run.batch_size)
    sizes = f"{_gb(memory.bytes_for(at_once))} GB, and {_gb(memory.usable)} can be used"
    if isinstance(asked, int):
        if memory.bytes_for(at_once) > memory.usable:
            context.reporter.warn(
                f"a step of {at_once} images at once needs about {sizes}: {ways_out(planned, most, parts)}"
            )
        return context
    context = replace(context, max_batch=most)
    recipe = resolved(context)
    found = int(recipe.run.batch_size)
    if asked == "max":
        context.reporter.line(f"batch size {found}: up to {most} fit into {_gb(memory.usable)} GB of free memory")
    elif found < wanted:
        context.reporter.line(
            f"batch size {found}, the most that fits: {wanted} suit the images, and would need {sizes} (--batch-size)"
        )
    return replace(context, recipe=recipe)


def measure_memory(context: TrainContext, recipe: Recipe) -> StepMemory:
    """Measure what a step without slices takes in one process; all processes measure, the main one's answer counts."""
    small = with_values(recipe, {"run.batch_size": SMALL_BATCH, "optim.grad_accum_steps": 1})
    context.reporter.stage("measuring memory")
    # First the loader: on a GPU it takes its room for the decoded images.
    loader = Loader(context.store, batch_size=SMALL_BATCH, seed=small.run.seed, device=context.precision.device)
    usable = _usable(context)
    learner = build_learner(small, context.backbone, context.preprocess, context.precision, World(), context.teacher)
    memory = measure_step_memory(learner, loader, usable)
    return from_main(lambda: memory)


@contextlib.contextmanager
def naming_a_fit(context: TrainContext, recipe: Recipe) -> Iterator[None]:
    """Turn an error of missing memory into one that names a batch size that would have fitted.

    Args:
        context: Of the run.
        recipe: Resolved.

    Raises:
        OutOfMemory: In its place.
    """
    try:
        yield
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that were too many
    raise OutOfMemory(_after_the_fact(context, recipe)) from None


def ways_out(recipe: Recipe, most: int, parts: int) -> str:
    """Name the batch size that fits, and the slices that keep the asked one.

    Args:
        recipe: Resolved; its batch is too large.
        most: What fits.
        parts: Processes and slices that the batch is cut into.
    """
    batch, now = int(recipe.run.batch_size), int(recipe.optim.grad_accum_steps)
    times = next((n for n in range(2, batch // parts + 1) if batch % (n * parts) == 0 and batch // n <= most), 0)
    words = f"--batch-size {most} would fit"
    if not times:
        return words
    same = ", with the same batch" if slices_are_exact(recipe) else ", with batch norm and KoLeo by slices"
    return f"{words}; so would --set optim.grad_accum_steps={times * now}{same}"


def _after_the_fact(context: TrainContext, recipe: Recipe) -> str:
    """Measure what would have fitted; with several processes that is impossible alone, and half is named."""
    gc.collect()
    if context.precision.device.type == "cuda":
        torch.cuda.empty_cache()
    batch, parts = int(recipe.run.batch_size), _parts(context.world, recipe)
    most = max(parts, batch // 2 // parts * parts)
    if context.world.size == 1:
        with contextlib.suppress(Exception):  # where two images do not fit either, half is as good an answer
            most = min(most, max(parts, measure_memory(context, recipe).fits(parts)))
    if most >= batch or most < 2:
        return f"out of memory with {batch} images: use smaller views (--set views.global_size=96) or a smaller --model"
    return f"out of memory with {batch // parts} images at once: {ways_out(recipe, most, parts)}"


def _has_plenty(context: TrainContext, recipe: Recipe) -> bool:
    at_once = int(recipe.run.batch_size) // _parts(context.world, recipe)
    most = at_once * _view_pixels(recipe.views) * MAX_BYTES_PER_PIXEL
    return from_main(lambda: most <= _usable(context))


def _view_pixels(views: Views) -> int:
    return GLOBAL_VIEWS * int(views.global_size) ** 2 + int(views.local_count) * int(views.local_size) ** 2


def _usable(context: TrainContext) -> float:
    return usable_bytes(context.precision.device, environment_number("LOCAL_WORLD_SIZE", 1))


def _parts(world: World, recipe: Recipe) -> int:
    return world.size * int(recipe.optim.grad_accum_steps)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f}"
