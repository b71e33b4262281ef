"""Maximum batch size by memory: an automatic batch size is limited to it, a given one is compared with it."""

import contextlib
import gc
import traceback
from collections.abc import Iterator
from dataclasses import replace

import torch

from dinocli.augment.multicrop import GLOBAL_VIEWS
from dinocli.config.auto import slices_are_exact
from dinocli.config.load import with_values
from dinocli.config.recipe import Recipe
from dinocli.data.loader import Loader
from dinocli.engine.build import build_learner
from dinocli.engine.distributed import World, environment_number, from_main
from dinocli.engine.step import Learner
from dinocli.engine.step_memory import (
    MAX_BYTES_PER_PIXEL,
    SMALL_BATCH,
    StepMemory,
    measure_step_memory,
    upper_bound,
    usable_bytes,
)
from dinocli.errors import OutOfMemory, is_out_of_memory
from dinocli.tasks.train.train_context import TrainContext

FAR_TOO_LARGE = 1.5
"""A step on a CPU that needs so many times the usable memory is not begun: the system would end the process, or others,
without a message. Below that the measurement may be wrong, and the user is warned."""


def fit_batch_to_memory(context: TrainContext) -> TrainContext:
    """Limit the batch size to the largest that fits into memory; a resumed run keeps its batch size.

    Little is measured if free memory is far larger than a step of this network needs, nothing if it is far larger than
    one of any network.

    Returns:
        The context, with the recipe resolved again if memory is the limit; the reporter gets a line.
    """
    recipe = context.recipe
    if context.resumed or (context.options.recipe.run.batch_size != "max" and _has_plenty(context, recipe)):
        return context
    return limit_batch(context, measure_memory(context, recipe))


def limit_batch(context: TrainContext, memory: StepMemory) -> TrainContext:
    """Limit an automatic batch size to the largest that fits into memory, or warn about a given one.

    Args:
        context: Context with a recipe resolved without a limit.
        memory: Measured memory of a step.

    Raises:
        OutOfMemory: A given batch size needs far more than the memory of a CPU.
    """
    planned, requested = context.recipe, context.options.recipe.run.batch_size
    parts, wanted = _parts(context.world, planned), int(planned.run.batch_size)
    most = max(largest_batch(context.world, planned, memory), parts, 2)
    needed = step_bytes(context.world, planned, memory)
    sizes = f"{_gb(needed)} GB, and {_gb(memory.usable)} can be used"
    if isinstance(requested, int):
        words = f"a step of {wanted} images needs about {sizes}: {batch_size_advice(planned, most, parts)}"
        if needed > FAR_TOO_LARGE * memory.usable and context.precision.device.type == "cpu":
            raise OutOfMemory(words)
        if needed > memory.usable:
            context.reporter.warn(words)
        return context
    context = replace(context, max_batch=most)
    recipe = context.resolved(context.options.recipe)
    batch_size = int(recipe.run.batch_size)
    if requested == "max":
        context.reporter.line(f"batch size {batch_size}: up to {most} fit into {_gb(memory.usable)} GB of free memory")
    elif batch_size < wanted:
        context.reporter.line(
            f"batch size {batch_size}, the largest that fits: the default for these images, {wanted}, would need "
            f"{sizes} (--batch-size)"
        )
    return replace(context, recipe=recipe)


def step_bytes(world: World, recipe: Recipe, memory: StepMemory) -> int:
    """Return the memory of a step of a resolved recipe, of one process."""
    return memory.bytes_for(int(recipe.run.batch_size) // _parts(world, recipe), int(recipe.optim.grad_accum_steps))


def largest_batch(world: World, recipe: Recipe, memory: StepMemory) -> int:
    """Return the largest batch size that fits with the slices of a resolved recipe; 0 if none does."""
    return memory.fits(world.size, int(recipe.optim.grad_accum_steps))


def measure_memory(context: TrainContext, recipe: Recipe) -> StepMemory:
    """Measure the memory of a step without slices; all processes measure, the main process decides."""
    learner, loader, usable = _small(context, recipe)
    memory = measure_step_memory(learner, loader, usable)
    return from_main(lambda: memory)


def _small(context: TrainContext, recipe: Recipe) -> tuple[Learner, Loader, float]:
    """Return a temporary learner with its loader, and the memory that could be used before they were built."""
    small = with_values(recipe, {"run.batch_size": SMALL_BATCH, "optim.grad_accum_steps": 1})
    context.reporter.stage("measuring memory")
    # The loader first: on a GPU it allocates memory for the decoded images.
    loader = Loader(context.store, batch_size=SMALL_BATCH, seed=small.run.seed, device=context.precision.device)
    usable = _usable(context)
    learner = build_learner(small, context.backbone, context.preprocess, context.precision, World(), context.teacher)
    return learner, loader, usable


@contextlib.contextmanager
def advising_batch_size(context: TrainContext, recipe: Recipe) -> Iterator[None]:
    """Convert an out-of-memory error to one that names a batch size that fits.

    Raises:
        OutOfMemory: Instead of any out-of-memory error.
    """
    try:
        yield
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the failed step
    raise OutOfMemory(_out_of_memory_advice(context, recipe)) from None


def batch_size_advice(recipe: Recipe, most: int, parts: int) -> str:
    """Return advice: the batch size that fits, and the gradient accumulation that keeps the requested batch size.

    Args:
        recipe: Resolved recipe whose batch is too large.
        most: Maximum number of images at once.
        parts: Number of processes times slices.
    """
    batch, now = int(recipe.run.batch_size), int(recipe.optim.grad_accum_steps)
    times = next((n for n in range(2, batch // parts + 1) if batch % (n * parts) == 0 and batch // n <= most), 0)
    words = f"--batch-size {most} would fit"
    if not times:
        return words
    same = ", with the same batch" if slices_are_exact(recipe) else ", with batch norm and KoLeo by slices"
    return f"{words}; so would --set optim.grad_accum_steps={times * now}{same}"


def _out_of_memory_advice(context: TrainContext, recipe: Recipe) -> str:
    """Return advice with a batch size that fits: measured, or half with several processes, which do not measure."""
    gc.collect()
    if context.precision.device.type == "cuda":
        torch.cuda.empty_cache()
    batch, parts = int(recipe.run.batch_size), _parts(context.world, recipe)
    most = max(parts, batch // 2 // parts * parts)
    if context.world.size == 1:
        try:
            most = min(most, largest_batch(context.world, recipe, measure_memory(context, recipe)))
        except Exception as error:
            most = 0 if is_out_of_memory(error) else most
    if most >= batch or most < 2:
        return (
            f"out of memory, also with the smallest batch: use smaller views (--set views.global_size; now "
            f"{recipe.views.global_size}), a smaller head (--set head.out_dim; now {recipe.head.out_dim}) or a smaller "
            "--model"
        )
    return f"out of memory with {batch // parts} images at once: {batch_size_advice(recipe, most, parts)}"


def _has_plenty(context: TrainContext, recipe: Recipe) -> bool:
    at_once, views = int(recipe.run.batch_size) // _parts(context.world, recipe), recipe.views
    pixels = GLOBAL_VIEWS * int(views.global_size) ** 2 + int(views.local_count) * int(views.local_size) ** 2
    if from_main(lambda: at_once * pixels * MAX_BYTES_PER_PIXEL <= _usable(context)):
        return True
    learner, loader, usable = _small(context, recipe)
    need = upper_bound(learner, loader, at_once, int(recipe.optim.grad_accum_steps))
    return from_main(lambda: need <= usable)


def _usable(context: TrainContext) -> float:
    return usable_bytes(context.precision.device, environment_number("LOCAL_WORLD_SIZE", 1))


def _parts(world: World, recipe: Recipe) -> int:
    return world.size * int(recipe.optim.grad_accum_steps)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f}"
