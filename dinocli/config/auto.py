"""Every "auto" of a recipe, worked out once from the folder and the start: pure arithmetic, tested as a table.

The table is reasoned, not benchmarked to the last digit: continuing from good weights needs few steps, small learning
rates and few prototypes where there are few images.
"""

import math
from dataclasses import dataclass

from dinocli.config.architecture_defaults import DEFAULTS, IMAGES, LORA_BELOW, Architecture
from dinocli.config.load import with_values
from dinocli.config.preprocess import GREY_OR_RGB
from dinocli.config.recipe import Recipe

BATCH = (32, 64, 128, 256, 256)
PROTOTYPES = (1_024, 1_024, 4_096, 16_384, 65_536)
LR_PART = (1e-4, 1e-4, 2e-4, 3e-4, 3e-4)
"""Of LoRA, output projections and norms alone: few parameters, which have to move further."""

VIEWS = {"gpu": (224, 96, 8), "cpu": (128, 64, 4)}
"""Sides of global and local views in pixels, and how many local ones: the paper's, and a third of their work."""

PROBE_IMAGES = {"gpu": 1_000, "cpu": 300}
"""On a CPU a look at a thousand images costs as much as twenty steps."""

SLICE = (8, 16)
"""Images of a slice on a CPU, from and to: fewer keep its cores less busy, more take memory and gain no speed."""

HEAD_LR = 5e-4
HEAD_WARMUP_STEPS = 100
SCRATCH_EPOCHS = 100  # the paper's shortest published run


@dataclass(frozen=True)
class RunFacts:
    """The facts that "auto" values depend on.

    Args:
        images: Readable images in the folder.
        pretrained: The run continues from weights; false when it starts from scratch.
        architecture: What the backbone is.
        batch_norm: It has batch norm, of whatever architecture it is.
        lora: It has attention that a low-rank change fits.
        processes: That share a batch.
        distinct: Images, near-copies counted once; 0 for as many as there are.
        patch: Pixels of a ViT's patch; 0 for a convnet.
        cpu: There is no accelerator.
        only_size: Pixels of the one side that the backbone takes; 0 for any.
        pool: What the backbone pools: `cls`, `mean`, or `timm` where it has no choice.
        most_batch: Largest batch that fits into memory; 0 where nothing is near the limit.
        in_chans: Channels of the network's input.
    """

    images: int
    pretrained: bool
    architecture: Architecture = "vit"
    batch_norm: bool = False
    lora: bool = True
    processes: int = 1
    distinct: int = 0
    patch: int = 0
    cpu: bool = False
    only_size: int = 0
    pool: str = "timm"
    most_batch: int = 0
    in_chans: int = 3

    @property
    def different(self) -> int:
        """What the tables are read at: frames of a video teach no more than a few of them."""
        return self.distinct or self.images


SIZED = ("run.batch_size", "run.steps", "model.trainable", "head.out_dim", "optim.lr", "optim.layer_decay")
"""What depends on how many different images there are."""


def asks_for_size(recipe: Recipe) -> bool:
    """Say whether any "auto" depends on the number of different images."""
    return any(getattr(getattr(recipe, key.split(".")[0]), key.split(".")[1]) == "auto" for key in SIZED)


def resolve(recipe: Recipe, facts: RunFacts) -> Recipe:
    """Replace every "auto" that arithmetic can answer; a recipe without one comes back equal.

    Precision, attention kernels and, on a GPU, compilation stay "auto": the engine measures them. So do `data.cache`
    and `data.workers`: they belong to the machine, not to the run, and change no result.
    """
    values: dict[str, object] = {}

    def settle(key: str, answer: object) -> None:
        section, name = key.split(".")
        if getattr(getattr(recipe, section), name) == "auto":
            values[key] = answer

    asked_slices = recipe.optim.grad_accum_steps
    parts = facts.processes * (1 if asked_slices == "auto" else asked_slices)
    asked = recipe.run.batch_size
    batch = asked if isinstance(asked, int) else batch_size(facts, parts, largest=asked == "max")
    steps = default_steps(facts, batch) if recipe.run.steps == "auto" else recipe.run.steps
    part = trainable(facts) if recipe.model.trainable == "auto" else recipe.model.trainable
    lr = learning_rate(facts, batch, part) if recipe.optim.lr == "auto" else recipe.optim.lr
    for key, answer in zip(("global_size", "local_size", "local_count"), views(facts), strict=True):
        settle(f"views.{key}", answer)
    if facts.cpu:
        settle("run.compile", False)
    settle("guard.probe_images", PROBE_IMAGES["cpu" if facts.cpu else "gpu"])
    values["run.batch_size"] = batch
    settle("run.steps", steps)
    settle("model.trainable", part)
    settle("model.pool", facts.pool)
    settle("model.in_chans", facts.in_chans)
    if facts.in_chans not in GREY_OR_RGB:  # changes of colour that channels without colours do not have
        values |= {"views.saturation": 0.0, "views.hue": 0.0, "views.grayscale": 0.0}
    settle("model.batch_norm", batch_norm(facts))
    settle("head.batch_norm", facts.architecture == "convnet" and facts.batch_norm and not facts.pretrained)
    settle("head.init", "fitted" if facts.pretrained else "random")
    settle("head.out_dim", 2 ** round(math.log2(_between(PROTOTYPES, facts.different))))
    settle("dino.teacher_momentum", teacher_momentum(steps))
    settle("optim.lr", lr)
    settle("optim.layer_decay", layer_decay(facts, part))
    settle("optim.head_lr", HEAD_LR if facts.pretrained else lr)
    settle("optim.head_warmup", head_warmup(facts, steps))
    settle("optim.weight_decay_end", recipe.optim.weight_decay if facts.pretrained else 0.4)
    resolved = with_values(recipe, values)
    if asked_slices != "auto":
        return resolved
    return with_values(resolved, {"optim.grad_accum_steps": slices(facts, resolved)})


def views(facts: RunFacts) -> tuple[int, int, int]:
    """Give the sides of global and local views, whole patches of them, and the number of local views.

    A backbone of one size sees all views at that size; local ones are then as dear as global ones, and as many.
    """
    if facts.only_size:
        return facts.only_size, facts.only_size, 2
    large, small, count = VIEWS["cpu" if facts.cpu else "gpu"]
    patch = facts.patch or 1
    return round(large / patch) * patch, round(small / patch) * patch, count


def batch_size(facts: RunFacts, parts: int = 1, *, largest: bool = False) -> int:
    """Give the images of a step: a multiple of 8 where the folder allows, and not more than half of the folder.

    Args:
        facts: The folder, and what fits into memory.
        parts: Equal parts that processes and accumulation cut it into; each gets at least one image.
        largest: As many as fit, where that is known; else as many as the folder needs, at most.
    """
    wanted = round(_between(BATCH, facts.different) / 8) * 8
    if facts.most_batch:
        wanted = facts.most_batch if largest else min(wanted, facts.most_batch)
    return max(2, parts, min(wanted, facts.images // 2) // parts * parts)


def slices(facts: RunFacts, recipe: Recipe) -> int:
    """Give the slices of a batch: on a CPU several where that saves memory and keeps the gradient, else one.

    Args:
        facts: The processes that share the batch.
        recipe: Resolved but for this.
    """
    images = int(recipe.run.batch_size) // facts.processes
    if not facts.cpu or not slices_are_exact(recipe):
        return 1
    few, most = SLICE
    return next((count for count in range(1, images + 1) if images % count == 0 and few <= images // count <= most), 1)


def slices_are_exact(recipe: Recipe) -> bool:
    """Say whether the slices of a batch give the gradient of the whole batch, but for rounding and stochastic depth.

    Stochastic depth draws for each slice anew. Batch norm that trains and KoLeo would see one slice at a time.

    Args:
        recipe: Resolved.
    """
    return recipe.model.batch_norm != "train" and not recipe.head.batch_norm and not recipe.loss.koleo


def default_steps(facts: RunFacts, batch: int) -> int:
    """Return the number of steps of a run without --steps."""
    continued = _between(DEFAULTS[facts.architecture if facts.pretrained else "vit"].steps, facts.different)
    scratch = SCRATCH_EPOCHS * facts.images / batch
    return _two_digits(continued if facts.pretrained else max(continued, scratch))


def batch_norm(facts: RunFacts) -> str:
    """Give the way of batch norm: trained from scratch, else moved to the folder's images once and kept."""
    if not facts.pretrained:
        return "train"
    return "adapted" if facts.batch_norm else "frozen"


def trainable(facts: RunFacts) -> str:
    """Give the part of the backbone that learns: less of a transformer where there are few images."""
    few = facts.pretrained and facts.different < LORA_BELOW
    return "lora" if few and facts.lora and DEFAULTS[facts.architecture].lora else "all"


def learning_rate(facts: RunFacts, batch: int, part: str = "all") -> float:
    """Give the peak learning rate of the backbone: the paper's rule from scratch, far less when continuing."""
    if not facts.pretrained:
        return 5e-4 * batch / 256
    table: tuple[float, ...] = DEFAULTS[facts.architecture].lr
    if part in ("lora", "attn-proj", "norms"):
        table = LR_PART
    return float(f"{_between(table, facts.different):.2g}")


def layer_decay(facts: RunFacts, part: str) -> float:
    """Give the decay of the rate towards the first layers: for a whole transformer that continues, else none."""
    if not (facts.pretrained and part == "all"):
        return 1.0
    return float(f"{_between(DEFAULTS[facts.architecture].layer_decay, facts.different):.2g}")


def teacher_momentum(steps: int) -> float:
    """Give the teacher's memory at the start: about 1/50 of the run, between 0.98 and 0.9995."""
    return min(max(1.0 - 50.0 / steps, 0.98), 0.9995)


def head_warmup(facts: RunFacts, steps: int) -> float:
    """Give the share of the run for the fresh head alone: a twelfth, but 100 steps where a third of the run allows."""
    if not facts.pretrained:
        return 0.0
    return min(max(1 / 12, HEAD_WARMUP_STEPS / steps), 1 / 3)


def _between(table: tuple[float, ...], images: int) -> float:
    """Interpolate a table over `IMAGES` on log-log axes; its ends continue flat."""
    x = math.log(min(max(images, IMAGES[0]), IMAGES[-1]))
    for left in range(len(IMAGES) - 1):
        low, high = math.log(IMAGES[left]), math.log(IMAGES[left + 1])
        if x <= high:
            share = (x - low) / (high - low)
            return math.exp((1 - share) * math.log(table[left]) + share * math.log(table[left + 1]))
    raise AssertionError("images were clamped to the table")  # pragma: no cover


def _two_digits(value: float) -> int:
    digits = 10 ** max(math.floor(math.log10(value)) - 1, 0)
    return int(round(value / digits) * digits)
