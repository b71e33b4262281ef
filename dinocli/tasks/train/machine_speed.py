"""Benchmark of a machine: images per second of decoding, multi-crop, features and training, and the bottleneck."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dinocli.config.load import load_recipe
from dinocli.data.canvas import Canvas
from dinocli.data.parallel import in_order, thread_count
from dinocli.data.read import Reader
from dinocli.engine.costs import measure_costs, seconds_per_forward
from dinocli.engine.device import pick_device
from dinocli.engine.step import train_step
from dinocli.engine.step_profile import PARTS, WAIT, ProfiledLoader
from dinocli.progress import ProgressReporter
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train_context import TrainContext
from dinocli.tasks.train.train_options import TrainOptions

DEFAULT_MODEL = "vit_small_patch16_224"
SIDES = (448, 600)
IMAGES = {"cpu": 48, "cuda": 256}
"""Number of images by device type; the batch is at most half of them."""

BATCH = {"cpu": 8, "cuda": 64}
PROFILED = {"cpu": 6, "cuda": 13}
"""Number of profiled steps by device type, including three of warm-up; on a CPU they take most of the minute."""


@dataclass(frozen=True)
class MachineSpeed:
    """Images per second of each stage.

    Args:
        model: timm name.
        device: Device and precision.
        views: Description of the views of an image.
        batch_size: Images per step.
        decode: Images/s of decoding and downscaling JPEG files of 600 x 448 pixels, on all threads.
        multicrop: Images/s of multi-crop.
        embed: Images/s of feature extraction.
        train: Images/s of complete training steps.
        parts: Seconds of each part of a step, with the profiler on.
        bottleneck: The slowest part, with advice.
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

    def table(self) -> list[str]:
        """Return text lines: rates, parts of a step, bottleneck."""
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
    """Time each stage of training and embedding on synthetic images, with random weights; nothing is downloaded.

    Args:
        model: timm name.
        device: auto, cpu, cuda or cuda:N.
        reporter: Receives the progress.

    Raises:
        DinocliError: Unknown model or device.
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
        return _measure_networks(context, model, decode, PROFILED[kind], reporter)


def _measure_networks(
    context: TrainContext, model: str, decode: float, profiled: int, reporter: ProgressReporter
) -> MachineSpeed:
    recipe, batch = context.recipe, int(context.recipe.run.batch_size)
    loader = context.loader(recipe)
    reporter.stage("timing features")
    forward = seconds_per_forward(loader, context.backbone, context.preprocess, len(context.store))
    reporter.stage("timing steps")
    step = measure_costs(context.learner(recipe), loader, recipe, context.backbone, context.preprocess).step
    reporter.stage("profiling steps", profiled)
    source, learner = ProfiledLoader(loader, None, ProgressReporter()), context.learner(recipe)
    for number, slices in enumerate(source.steps(0, profiled)):
        train_step(learner, slices, number).cpu()
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
    """Describe the bottleneck of training.

    Args:
        decode: Images per second.
        train: Images per second.
        parts: Seconds of each part of a step.
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
    """Write JPEG files of smooth random colours, of about the size of photographs."""
    random = np.random.default_rng(0)
    for number in range(count):
        small = random.integers(0, 256, (SIDES[0] // 8, SIDES[1] // 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize(SIDES[::-1], Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
