"""What a machine does in a second, and which part of a step holds it up: decoding, views, features, training."""

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dinocli.config.load import load_recipe
from dinocli.data.parallel import in_order, thread_count
from dinocli.data.read import Canvas, Reader
from dinocli.engine.device import pick_device
from dinocli.engine.step import train_step
from dinocli.engine.step_profile import PARTS, WAIT, ProfiledLoader
from dinocli.progress import ProgressReporter
from dinocli.tasks.train.costs import measure_costs, seconds_per_forward
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train_context import TrainContext
from dinocli.tasks.train.train_options import TrainOptions

DEFAULT_MODEL = "vit_small_patch16_224"
SIDES = (448, 600)
IMAGES = {"cpu": 48, "cuda": 256}
"""Half of them are the largest batch that a folder gets."""

BATCH = {"cpu": 8, "cuda": 64}
PROFILED = {"cpu": 6, "cuda": 13}
"""Steps with the profiler, the first three of them unseen: on a CPU they take most of the minute."""


@dataclass(frozen=True)
class MachineSpeed:
    """Images a second.

    Args:
        model: timm name.
        device: Device and precision.
        views: Of an image, in words.
        batch_size: Images of a step.
        decode: JPEG files of 600 x 448 pixels read and shrunk, on all threads.
        multicrop: Made into views.
        embed: Whole images turned into features.
        train: Whole training steps.
        parts: Seconds of a step by part, with the profiler on.
        bottleneck: Which part holds up training, and what to do about it.
    """

    model: str
    device: str
    views: str
    batch_size: int
    decode: float
    multicrop: float
    embed: float
    train: float
    parts: dict[str, float]
    bottleneck: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self)

    def table(self) -> list[str]:
        """Return lines: a rate each, the parts of a step, and the bottleneck."""
        rates = [("decoding", self.decode), ("multi-crop", self.multicrop), ("features (embed)", self.embed)]
        whole = sum(self.parts.values())
        return [
            f"{self.model} on {self.device}, {self.views}, batches of {self.batch_size}",
            *(f"{name:<17} {rate:9.1f} img/s" for name, rate in (*rates, ("training", self.train))),
            *(f"  {name:<15} {value * 1000:9.1f} ms {value / whole:6.1%}" for name, value in self.parts.items()),
            f"bottleneck: {self.bottleneck}",
        ]


def measure_speed(
    model: str = DEFAULT_MODEL, device: str = "auto", reporter: ProgressReporter | None = None
) -> MachineSpeed:
    """Time every part of training and embedding on made-up images, with random weights; no network is asked.

    Args:
        model: timm name.
        device: auto, cpu, cuda or cuda:N.
        reporter: Is told how far it is.

    Raises:
        DinocliError: A model or device that there is not.
    """
    reporter = reporter or ProgressReporter()
    kind = pick_device(device).type
    with tempfile.TemporaryDirectory() as name:
        reporter.stage("writing images")
        write_photographs(Path(name), IMAGES[kind])
        settings = (f"model.name={model}", "model.weights=none", f"run.batch_size={BATCH[kind]}", "run.steps=1000")
        options = TrainOptions((name,), load_recipe((), settings), device=device)
        images = list_images(options, None)
        context = setup(options, images, reporter)
        reporter.stage("decoding")
        reader = Reader(context.preprocess, context.recipe.data.short_side)

        def read(row: int) -> list[Canvas]:
            return reader.canvases(images.path(row))

        began = time.perf_counter()
        decoded = len(list(in_order(read, range(len(images)), thread_count("auto"))))
        decode = decoded / (time.perf_counter() - began)
        return _of_networks(context, model, decode, PROFILED[kind], reporter)


def _of_networks(
    context: TrainContext, model: str, decode: float, profiled: int, reporter: ProgressReporter
) -> MachineSpeed:
    recipe, batch = context.recipe, int(context.recipe.run.batch_size)
    loader = context.loader(recipe)
    reporter.stage("timing features")
    forward = seconds_per_forward(context, loader, context.backbone, context.preprocess, len(context.store))
    reporter.stage("timing steps")
    step = measure_costs(context, recipe, loader).step
    reporter.stage("profiling steps", profiled)
    source, learner = ProfiledLoader(loader, None, ProgressReporter()), context.learner(recipe)
    for number, slices in enumerate(source.steps(0, profiled)):
        train_step(learner, slices, number).values_N.cpu()
        reporter.advance()
    parts = {
        name: source.seconds[name] for name in PARTS if name in source.seconds and name not in ("crop", "photometric")
    }
    views = recipe.views
    return MachineSpeed(
        model=model,
        device=f"{context.precision.device}, {context.precision.name}",
        views=f"2 x {views.global_size} + {views.local_count} x {views.local_size} px",
        batch_size=batch,
        decode=round(decode, 1),
        multicrop=round(batch / max(parts["multi-crop"], 1e-9), 1),
        embed=round(1 / forward, 1),
        train=round(batch / step, 1),
        parts={name: round(value, 6) for name, value in parts.items()},
        bottleneck=bottleneck(decode, batch / step, parts),
    )


def bottleneck(decode: float, train: float, parts: dict[str, float]) -> str:
    """Say what holds up training.

    Args:
        decode: Images a second.
        train: Images a second.
        parts: Seconds of a step by part.
    """
    slowest = max(parts, key=lambda name: parts[name])
    words = f"the {slowest}, {parts[slowest] / sum(parts.values()):.0%} of a step"
    if slowest == WAIT:
        words = "waiting for images"
    elif slowest == "multi-crop":
        words += "; fewer or smaller views (--set views.local_count=4) are faster"
    if decode < train:
        words += f"; the first pass over a folder waits for decoding ({decode:.0f} img/s), later ones read the cache"
    return words


def write_photographs(folder: Path, count: int) -> None:
    """Write JPEG files of smooth random colours, as large as decoders meet them."""
    random = np.random.default_rng(0)
    for number in range(count):
        small = random.integers(0, 256, (SIDES[0] // 8, SIDES[1] // 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize(SIDES[::-1], Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
