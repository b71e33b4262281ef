"""Compare the speed of our training loop with a reference, in turns (A B A B) in one process; ratios per pair.

    python benchmarks/train_step.py --against plain
    python benchmarks/train_step.py --against dino --dino-checkout dino   # a clone of facebookresearch/dino
    python benchmarks/train_step.py --against dino --dino-checkout dino --batch 8 --prototypes 1024

`dino`: ViT-Ti/16, 2 x 224 + 8 x 96 pixels, 16 images, 4096 prototypes (`--batch`, `--prototypes`). Ours is the whole
loop: loading from memory, augmentation and step, with the precision and kernels that a run would choose. The reference
is the step of the public DINO code on precomputed crops (float32 on a CPU, float16 on a GPU, as in that code).
`plain`: EfficientNet-Lite0 with the settings of the demo, the whole loop in both. The reference is our loop in float32
with the default memory format and kernels of torch, and with freed memory returned to the system.

The last two lines show the share of loading and augmentation in our step, in colour and in grey.
"""

import argparse
import ctypes
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor

from dinocli.config.auto import resolve
from dinocli.config.load import load_recipe
from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.config.run_facts import RunFacts
from dinocli.data.cache import Decoder, open_store
from dinocli.data.loader import Loader
from dinocli.data.read import Reader
from dinocli.data.sources import find_images
from dinocli.engine.build import build_learner, build_precision
from dinocli.engine.device import keep_freed_memory, pick_device
from dinocli.engine.distributed import World
from dinocli.engine.precision import Precision
from dinocli.engine.step import train_step
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COMMON = ("model.weights=none", "optim.head_warmup=0", "optim.freeze_last_layer=0", "run.steps=10000")
VIT = ("model.name=vit_tiny_patch16_224",)
LITE = ("model.name=tf_efficientnet_lite0", "model.batch_norm=frozen")
IMAGES, SIDES = 96, {"dino": (480, 640), "plain": (300, 300)}


@dataclass(frozen=True)
class Result:
    """Seconds per step, one value per round."""

    against: str
    device: str
    threads: int
    precision: str
    attention: str
    ours: list[float]
    other: list[float]
    loading_colour: float
    loading_grey: float

    @property
    def ratios(self) -> list[float]:
        """Time of the reference divided by ours, for each pair."""
        return [other / ours for ours, other in zip(self.ours, self.other, strict=True)]


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the resolved recipe of a comparison."""
    plain = options.against == "plain"
    name, own = ("grey", [*LITE]) if plain else ("natural", [*VIT, f"head.out_dim={options.prototypes}"])
    own.append(f"run.batch_size={options.batch or (48 if plain else 16)}")
    facts = RunFacts(
        2_624, True, "convnet" if plain else "vit", batch_norm=plain, cpu=plain
    )  # the paper's views for ViT
    return resolve(load_recipe([name], [*COMMON, *own]), facts)


def write_images(folder: Path, size: tuple[int, int], *, grey: bool) -> None:
    """Write images of smooth random textures."""
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        small = rng.integers(0, 256, (size[0] // 10, size[1] // 10, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)
        (image.convert("L") if grey else image).save(folder / f"{number}.png", compress_level=1)


class Loop:
    """Training loop of dinocli: `steps` trains, `loading` only loads and augments."""

    def __init__(self, recipe: Recipe, backbone: Backbone, precision: Precision, folder: Path, *, grey: bool) -> None:
        preprocess = Preprocess("full", 0.0, 255.0, False, grey, (), 0, MEAN, STD, 224)
        decoder = Decoder(find_images([str(folder)]), Reader(preprocess, recipe.data.short_side), "auto", "0")
        store = open_store(decoder, cache="auto", shared=False, folder=folder / "cache")
        self.learner = build_learner(recipe, backbone, preprocess, precision, World())
        size = int(recipe.run.batch_size)
        self.loader = Loader(store, batch_size=size, seed=0, device=precision.device)
        self.done = 0

    def steps(self, count: int) -> None:
        """Take training steps; a new iterator each time, so that nothing is loaded while the reference is measured."""
        for slices in self.loader.steps(self.done, self.done + count):
            stats = train_step(self.learner, slices, self.done)
            self.done += 1
        stats.cpu()  # as in a run, which reads the statistics of several steps at once

    def loading(self, count: int) -> None:
        """Load and augment the batches of `count` steps."""
        for slices in self.loader.steps(self.done, self.done + count):
            for batch in slices:
                views = self.learner.multicrop(
                    batch.pixels_BCHW,
                    batch.sizes_B2,
                    step=self.done,
                    start=batch.start,
                    global_batch=self.learner.batch_size,
                )
            views[-1][-1].cpu()
            self.done += 1


class PublicDino:
    """The step of the public DINO code (`train_one_epoch`) on precomputed crops, without its wrapper for several GPUs.

    Args:
        checkout: Clone of facebookresearch/dino; its code is imported and run.
        recipe: Gives the sizes of network, head, batch and views.
        device: Device of the networks and crops.
        rendezvous: File to create for a process group of one process.
    """

    def __init__(self, checkout: Path, recipe: Recipe, device: torch.device, rendezvous: Path) -> None:
        sys.path.insert(0, str(checkout))
        import main_dino  # type: ignore[import-not-found]
        import utils  # type: ignore[import-not-found]
        import vision_transformer  # type: ignore[import-not-found]

        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=0, world_size=1)
        self.utils, self.device, views, prototypes = utils, device, recipe.views, int(recipe.head.out_dim)

        def network(**options: Any) -> torch.nn.Module:
            backbone = vision_transformer.vit_tiny(patch_size=16, **options)
            head = vision_transformer.DINOHead(backbone.embed_dim, prototypes)
            wrapped: torch.nn.Module = utils.MultiCropWrapper(backbone, head).to(device)
            return wrapped

        self.student, self.teacher = network(drop_path_rate=recipe.model.drop_path), network()
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        crops = 2 + int(views.local_count)
        self.loss = main_dino.DINOLoss(prototypes, crops, 0.04, 0.04, 0, 100).to(device)
        self.optimizer = torch.optim.AdamW(utils.get_params_groups(self.student), lr=1e-5)
        self.scaler = torch.amp.GradScaler(device.type) if device.type == "cuda" else None
        sizes = [int(views.global_size)] * 2 + [int(views.local_size)] * int(views.local_count)
        self.crops = [torch.randn(int(recipe.run.batch_size), 3, size, size, device=device) for size in sizes]

    def steps(self, count: int) -> None:
        """Take training steps."""
        for _ in range(count):
            self._step()

    def _step(self) -> None:
        with torch.autocast(self.device.type, torch.float16, enabled=self.scaler is not None):
            targets = self.teacher(self.crops[:2])
            loss: Tensor = self.loss(self.student(self.crops), targets, 1)
        loss.item()
        self.optimizer.zero_grad()
        (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        self.utils.clip_gradients(self.student, 3.0)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        with torch.no_grad():
            for new, old in zip(self.student.parameters(), self.teacher.parameters(), strict=True):
                old.data.mul_(0.996).add_((1 - 0.996) * new.detach().data)
        loss.item()


def release_freed_memory() -> None:
    """Undo `keep_freed_memory`: set the thresholds that glibc reaches by itself once large tensors were freed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for setting, value in ((-3, 32 << 20), (-1, 64 << 20)):
            mallopt(setting, value)


def seconds(work: Callable[[int], None], count: int, *, ours: bool) -> float:
    """Return the seconds per step of `work`, over `count` steps."""
    if ours:
        keep_freed_memory()
    else:
        release_freed_memory()
    begin = time.perf_counter()
    work(count)
    return (time.perf_counter() - begin) / count


def build_reference(
    options: argparse.Namespace, recipe: Recipe, backbone: Backbone, device: torch.device, folder: Path
) -> Loop | PublicDino:
    """Build the public code, or our loop in float32 with torch's default memory format and kernels."""
    if options.against == "dino":
        return PublicDino(options.dino_checkout, recipe, device, folder / "rendezvous")
    loop = Loop(recipe, backbone, Precision(device, "fp32", "fused"), folder / "grey", grey=True)
    for network in (loop.learner.student, loop.learner.teacher):
        network.backbone.memory_format = torch.contiguous_format
    return loop


def compare(options: argparse.Namespace, folder: Path) -> Result:
    """Measure in turns: our loop, the reference, loading in colour, loading in grey."""
    recipe, device = recipe_of(options), pick_device(options.device)
    backbone = create_backbone(recipe.model.name, drop_path=recipe.model.drop_path).to(device)
    precision = build_precision(recipe, backbone, device)
    loops = {}
    for grey in (False, True):
        images = folder / ("grey" if grey else "colour")
        images.mkdir()
        write_images(images, SIDES[options.against], grey=grey)
        loops[grey] = Loop(recipe, backbone, precision, images, grey=grey)
    ours, other = loops[options.against == "plain"], build_reference(options, recipe, backbone, device, folder)
    works = [ours.steps, other.steps, loops[False].loading, loops[True].loading]
    for work in works:
        work(1)
    times = np.array(
        [[seconds(work, options.steps, ours=work != other.steps) for work in works] for _ in range(options.rounds)]
    )
    shares = np.median(times[:, 2:] / times[:, :1], axis=0).tolist()
    return Result(
        options.against,
        str(device),
        torch.get_num_threads(),
        precision.name,
        precision.attention,
        *times[:, :2].T.tolist(),
        *shares,
    )


def show(result: Result) -> None:
    """Print the result as a table."""
    ratios = result.ratios
    print(f"{result.device}, {result.threads} threads, {result.precision}, attention {result.attention}")
    print(f"ours                {median(result.ours):8.3f} s a step")
    print(f"{result.against:<20}{median(result.other):8.3f} s a step")
    print(f"ratio               {median(ratios):8.2f}   ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"loading, colour     {result.loading_colour:8.1%} of our step")
    print(f"loading, grey       {result.loading_grey:8.1%} of our step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", choices=("plain", "dino"), required=True, help="what to compare with")
    parser.add_argument("--dino-checkout", type=Path, help="folder of facebookresearch/dino, for --against dino")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of measurements (default: 5)")
    parser.add_argument("--steps", type=int, default=2, help="steps of each measurement (default: 2)")
    parser.add_argument("--batch", type=int, default=0, help="images of a step (default: 16; of plain 48)")
    parser.add_argument("--prototypes", type=int, default=4096, help="of --against dino (default: 4096)")
    parser.add_argument("--threads", type=int, default=0, help="of torch (default: 0, its own choice)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:NUMBER (default: auto)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.against == "dino" and options.dino_checkout is None:
        parser.error("--against dino needs --dino-checkout")
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = compare(options, Path(folder))
    if options.json:
        print(json.dumps(asdict(result) | {"ratio": median(result.ratios)}))
    else:
        show(result)


if __name__ == "__main__":
    main()
