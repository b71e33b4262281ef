"""Resolution of the "auto" values of a recipe from the number of images and the start weights: pure arithmetic.

Not every table value was benchmarked. The rule behind them: with few images, continued training needs few steps, small
learning rates and few prototypes.
"""

import math

from dinocli.config.architecture_defaults import DEFAULTS, IMAGES, LORA_MAX_IMAGES
from dinocli.config.load import with_values
from dinocli.config.preprocess import GREY_OR_RGB
from dinocli.config.recipe import Recipe
from dinocli.config.run_facts import RunFacts

BATCH = (32, 64, 128, 256, 256)
PROTOTYPES = (1_024, 1_024, 4_096, 16_384, 65_536)
PARTIAL_LR = (1e-4, 1e-4, 2e-4, 3e-4, 3e-4)
"""Peak learning rates if only LoRA, output projections or norms are trained: few parameters need larger steps."""

VIEWS = {"gpu": (224, 96, 8), "cpu": (128, 64, 4)}
"""Sides of global and local views (pixels), and number of local views: those of the paper, and a third of its work."""

PROBE_IMAGES = {"gpu": 1_000, "cpu": 300}
"""On a CPU a probe of 1,000 images costs as much as 20 steps."""

GUARD_SHARE = {"pretrained": 0.2, "scratch": 0.05}
"""Largest fraction of a run's work for probes and verdict; random weights need no protection."""

SLICE_IMAGES = (8, 16)
"""Fewest and most images of a slice on a CPU: fewer use the cores less, more take memory without more speed."""

CENTER_BATCHES, STEPS_PER_CENTER_BATCH = 4, 16
"""Most batches that initialise the centre, and steps of the run for each: a batch costs a fifth of a step."""

HEAD_LR = 5e-4
HEAD_WARMUP_STEPS = 100
SCRATCH_EPOCHS = 100  # the paper's shortest published run


IMAGE_COUNT_KEYS = ("run.batch_size", "run.steps", "model.trainable", "head.out_dim", "optim.lr", "optim.layer_decay")
"""Settings whose "auto" depends on the number of distinct images."""


def needs_image_count(recipe: Recipe) -> bool:
    """Return whether any "auto" of the recipe depends on the number of distinct images."""
    return any(getattr(getattr(recipe, key.split(".")[0]), key.split(".")[1]) == "auto" for key in IMAGE_COUNT_KEYS)


def resolve(recipe: Recipe, facts: RunFacts) -> Recipe:
    """Replace each "auto" that arithmetic can resolve.

    Precision, attention kernels and, on a GPU, compilation stay "auto": the engine measures them. `data.cache` and
    `data.workers` stay "auto": they depend on the machine and change no result.
    """
    values: dict[str, object] = {}

    def set_if_auto(key: str, value: object) -> None:
        section, name = key.split(".")
        if getattr(getattr(recipe, section), name) == "auto":
            values[key] = value

    requested_slices = recipe.optim.grad_accum_steps
    parts = facts.processes * (1 if requested_slices == "auto" else requested_slices)
    requested_batch = recipe.run.batch_size
    if isinstance(requested_batch, int):
        batch = requested_batch
    else:
        batch = batch_size(facts, parts, largest=requested_batch == "max")
    steps = default_steps(facts, batch) if recipe.run.steps == "auto" else recipe.run.steps
    part = trainable(facts) if recipe.model.trainable == "auto" else recipe.model.trainable
    lr = learning_rate(facts, batch, part) if recipe.optim.lr == "auto" else recipe.optim.lr
    for key, value in zip(("global_size", "local_size", "local_count"), views(facts), strict=True):
        set_if_auto(f"views.{key}", value)
    if facts.cpu:
        set_if_auto("run.compile", False)
    set_if_auto("guard.probe_images", PROBE_IMAGES["cpu" if facts.cpu else "gpu"])
    set_if_auto("guard.synthetic_defects", facts.pretrained and not recipe.model.teacher)
    set_if_auto("guard.max_share", GUARD_SHARE["pretrained" if facts.pretrained else "scratch"])
    values["run.batch_size"] = batch
    set_if_auto("run.steps", steps)
    set_if_auto("model.trainable", part)
    set_if_auto("model.pool", facts.pool)
    set_if_auto("model.in_chans", facts.in_chans)
    if facts.in_chans not in GREY_OR_RGB:  # colour augmentation needs colour channels
        values |= {"views.saturation": 0.0, "views.hue": 0.0, "views.grayscale": 0.0}
    set_if_auto("model.batch_norm", batch_norm(facts))
    set_if_auto("head.batch_norm", facts.architecture == "convnet" and facts.batch_norm and not facts.pretrained)
    set_if_auto("head.init", "fitted" if facts.pretrained else "random")
    set_if_auto("head.out_dim", 2 ** round(math.log2(_interpolate(PROTOTYPES, facts.distinct_images))))
    set_if_auto("dino.center_batches", min(CENTER_BATCHES, max(1, steps // STEPS_PER_CENTER_BATCH)))
    set_if_auto("dino.teacher_momentum", teacher_momentum(steps))
    set_if_auto("optim.lr", lr)
    set_if_auto("optim.layer_decay", layer_decay(facts, part))
    set_if_auto("optim.head_lr", HEAD_LR if facts.pretrained else lr)
    set_if_auto("optim.head_warmup", head_warmup(facts, steps))
    set_if_auto("optim.weight_decay_end", recipe.optim.weight_decay if facts.pretrained else 0.4)
    resolved = with_values(recipe, values)
    if requested_slices != "auto":
        return resolved
    return with_values(resolved, {"optim.grad_accum_steps": slices(facts, resolved)})


def views(facts: RunFacts) -> tuple[int, int, int]:
    """Return the sides of global and local views, multiples of the patch, and the number of local views.

    A backbone of fixed input size takes all views at that size. Local views then cost as much as global views, and
    there are two.
    """
    if facts.fixed_size:
        return facts.fixed_size, facts.fixed_size, 2
    large, small, count = VIEWS["cpu" if facts.cpu else "gpu"]
    patch = facts.patch or 1
    return round(large / patch) * patch, round(small / patch) * patch, count


def batch_size(facts: RunFacts, parts: int = 1, *, largest: bool = False) -> int:
    """Return the images per step: a multiple of `parts`, usually of 8; at most half of the images, at least 2.

    Args:
        facts: Number of images, and the largest batch that fits into memory.
        parts: Number of equal slices, over all processes; each has at least one image.
        largest: Return the largest batch that fits into memory, if it is known.
    """
    batch = round(_interpolate(BATCH, facts.distinct_images) / 8) * 8
    if facts.max_batch:
        batch = facts.max_batch if largest else min(batch, facts.max_batch)
    return max(2, parts, min(batch, facts.images // 2) // parts * parts)


def slices(facts: RunFacts, recipe: Recipe) -> int:
    """Return the slices per batch: on a CPU several if that saves memory and keeps the gradient, else 1.

    Args:
        facts: Number of processes that share the batch.
        recipe: Recipe that is resolved but for this value.
    """
    images = int(recipe.run.batch_size) // facts.processes
    if not facts.cpu or not slices_are_exact(recipe):
        return 1
    fewest, most = SLICE_IMAGES
    counts = (count for count in range(1, images + 1) if images % count == 0 and fewest <= images // count <= most)
    return next(counts, 1)


def slices_are_exact(recipe: Recipe) -> bool:
    """Return whether slices give the gradient of the whole batch, except for rounding and stochastic depth.

    Stochastic depth draws again for each slice. Training batch norm and KoLeo would see one slice at a time.

    Args:
        recipe: Resolved recipe.
    """
    return recipe.model.batch_norm != "train" and not recipe.head.batch_norm and not recipe.loss.koleo


def default_steps(facts: RunFacts, batch: int) -> int:
    """Return the default number of steps, rounded to two digits."""
    table = DEFAULTS[facts.architecture if facts.pretrained else "vit"].steps
    continued = _interpolate(table, facts.distinct_images)
    scratch = SCRATCH_EPOCHS * facts.images / batch
    return _two_digits(continued if facts.pretrained else max(continued, scratch))


def batch_norm(facts: RunFacts) -> str:
    """Return the mode of batch norm: `train` from scratch, else statistics adapted to the images once, then frozen."""
    if not facts.pretrained:
        return "train"
    return "adapted" if facts.batch_norm else "frozen"


def trainable(facts: RunFacts) -> str:
    """Return the trained part of the backbone: LoRA for pretrained transformers with few images, else all."""
    few = facts.pretrained and facts.distinct_images < LORA_MAX_IMAGES
    return "lora" if few and facts.lora and DEFAULTS[facts.architecture].lora else "all"


def learning_rate(facts: RunFacts, batch: int, part: str) -> float:
    """Return the peak learning rate of the backbone: that of the paper from scratch, else far less."""
    if not facts.pretrained:
        return 5e-4 * batch / 256
    table: tuple[float, ...] = DEFAULTS[facts.architecture].lr
    if part in ("lora", "attn-proj", "norms"):
        table = PARTIAL_LR
    return float(f"{_interpolate(table, facts.distinct_images):.2g}")


def layer_decay(facts: RunFacts, part: str) -> float:
    """Return the layer-wise learning rate decay: 1 (none) from scratch and for partial training."""
    if not (facts.pretrained and part == "all"):
        return 1.0
    return float(f"{_interpolate(DEFAULTS[facts.architecture].layer_decay, facts.distinct_images):.2g}")


def teacher_momentum(steps: int) -> float:
    """Return the EMA momentum at the first step: an average over 1/50 of the run, between 0.98 and 0.9995."""
    return min(max(1.0 - 50.0 / steps, 0.98), 0.9995)


def head_warmup(facts: RunFacts, steps: int) -> float:
    """Return the fraction of the run that trains the head only: 1/12, or 100 steps if longer, but at most 1/3."""
    if not facts.pretrained:
        return 0.0
    return min(max(1 / 12, HEAD_WARMUP_STEPS / steps), 1 / 3)


def _interpolate(table: tuple[float, ...], images: int) -> float:
    """Interpolate a table over `IMAGES` on log-log axes; constant beyond its ends."""
    x = math.log(min(max(images, IMAGES[0]), IMAGES[-1]))
    for left in range(len(IMAGES) - 1):
        low, high = math.log(IMAGES[left]), math.log(IMAGES[left + 1])
        if x <= high:
            weight = (x - low) / (high - low)
            return math.exp((1 - weight) * math.log(table[left]) + weight * math.log(table[left + 1]))
    raise AssertionError("images were clamped to the table")  # pragma: no cover


def _two_digits(value: float) -> int:
    digits = 10 ** max(math.floor(math.log10(value)) - 1, 0)
    return int(round(value / digits) * digits)
