"""Speed of `dinocli embed` compared with two alternatives, alternating in one process: medians and ratios.

    python benchmarks/embed.py IMAGES --weights PATH --model tf_efficientnet_lite0

`bare` is the same backbone on tensors in memory, in the same precision, without reading and writing. `plain` is a usual
script: timm, PIL, torchvision's transforms, torch's DataLoader with one process per core, float32.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dinocli.artifacts.partial_features import PartialFeatures
from dinocli.data.parallel import thread_count
from dinocli.engine.image_batches import ImageBatches
from dinocli.models.backbone import Backbone
from dinocli.models.features import extract
from dinocli.models.weights import load_backbone
from dinocli.progress import ProgressReporter
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import EmbedContext, prepare
from dinocli.tasks.embed.forward_pass import write_rows

READY = 4
"""Number of different batches of the bare loop."""


class Files(Dataset[Any]):
    """Dataset of a usual script."""

    def __init__(self, paths: list[str], setting: EmbedContext) -> None:
        about = setting.preprocess
        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.Resize((about.size, about.size), transforms.InterpolationMode.BICUBIC),
                transforms.ToTensor(),
                transforms.Normalize(about.mean, about.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Any:
        return self.transform(Image.open(self.paths[place]).convert("RGB"))


def ours(setting: EmbedContext, options: EmbedOptions) -> None:
    """Read, embed and write all images with dinocli, without the loading of the weights."""
    threads, on_cpu = thread_count(setting.data.workers), setting.device.type == "cpu"
    pictures = ImageBatches(setting.images, setting.preprocess, None, threads, on_cpu=on_cpu)
    part = PartialFeatures(Path(options.out), {}, setting.shape, options.dtype, resume=False)
    write_rows(setting, pictures, part)
    part.finalize().replace(options.out)
    part.close()
    part.remove()


def bare(setting: EmbedContext, backbone: Backbone, batch_size: int) -> None:
    """Compute the same number of images from tensors in memory."""
    side, count = setting.preprocess.size, len(setting.images)
    ready = [torch.randn(batch_size, 3, side, side, device=setting.device) for _ in range(READY)]
    batches: Iterable[torch.Tensor] = (
        ready[number % READY][: count - start] for number, start in enumerate(range(0, count, batch_size))
    )
    extract(backbone, batches, autocast=setting.autocast)


def plain(setting: EmbedContext, model: Any, batch_size: int, workers: int) -> None:
    """Embed all images with a usual script."""
    paths = [setting.images.path(number) for number in range(len(setting.images))]
    loader = DataLoader(
        Files(paths, setting), batch_size, num_workers=workers, pin_memory=setting.device.type == "cuda"
    )
    found = []
    with torch.inference_mode():
        for batch in loader:
            found.append(model(batch.to(setting.device, non_blocking=True)).cpu())
    torch.cat(found)


def seconds(work: Callable[[], None]) -> float:
    """Return the time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="folder")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--count", type=int, default=1024, help="images per round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("bench-feats.npy"), help="written and removed")
    asked = parser.parse_args()
    listed = [str(path) for path in sorted(Path(asked.images).rglob("*.*g"))[: asked.count]]
    options = EmbedOptions(
        tuple(listed),
        out=str(asked.out),
        tokens="pooled",
        weights=asked.weights,
        model=asked.model,
        batch_size=asked.batch_size,
        device=asked.device,
    )
    setting = prepare(options, ProgressReporter(), None)
    backbone, _, _ = load_backbone(asked.weights, asked.model)
    model = timm.create_model(setting.info.name, num_classes=0)
    model.load_state_dict(backbone.model.state_dict())
    for module in (backbone, model):
        module.to(setting.device).eval()
    cores = len(os.sched_getaffinity(0))
    works: dict[str, Callable[[], None]] = {
        "ours": lambda: ours(setting, options),
        "bare": lambda: bare(setting, backbone, asked.batch_size),
        "plain": lambda: plain(setting, model, asked.batch_size, cores),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(asked.rounds + 1):
        for name, work in works.items():
            took = seconds(work)
            if number:  # the first round warms up
                times[name].append(took)
    print(f"{len(listed)} images, {setting.preprocess.size} px, {setting.precision} on {setting.device}, {cores} cores")
    for name, spent in times.items():
        print(
            f"{name:6} {len(listed) / statistics.median(spent):8.1f} images/s   {min(spent):.2f} to {max(spent):.2f} s"
        )
    for other in ("bare", "plain"):
        ratios = [b / a for a, b in zip(times["ours"], times[other], strict=True)]
        print(f"ours against {other}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    asked.out.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
