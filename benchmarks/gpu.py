"""Run every command once on a machine with a GPU, then print a table of speeds. Under four minutes, no network.

    python benchmarks/gpu.py                              # ViT-S/16, batches of 64 and 256
    python benchmarks/gpu.py --dino-checkout dino         # and the public step, on ready crops: facebookresearch/dino

The table has one row per batch size, plain and compiled: the loop with loading (448 x 600 colour canvases,
2 x 224 + 8 x 96 views, K 8192, the precision that a run would choose), alternating with the public DINO step; the
multi-crop alone; launches, copies and waits of the host per step; the share of a step in which the GPU computes; peak
memory; TFLOP/s of the networks and of a plain matrix product. `embed`: images per second with decoding.

Measurements that do not fit into `--seconds` are left out and named; the compiled rows, which take a minute each, come
last. On a CPU: `--model test_vit --batch 8`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import train_step
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from train_step import COMMON, Loop, PublicDino, write_images

from dinocli.config.auto import resolve
from dinocli.config.load import load_recipe
from dinocli.config.recipe import Recipe
from dinocli.config.run_facts import RunFacts
from dinocli.engine.build import build_precision
from dinocli.engine.compilation import compile_learner
from dinocli.engine.device import pick_device
from dinocli.engine.precision import Precision
from dinocli.models.create import create_backbone

CANVAS, EMBEDDED, MATRIX = (448, 600), 512, 8192
NEEDED = {"plain": 20, "compiled": 75, "commands": 20}
"""Seconds that have to be left for a measurement to start."""

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
SMALL = ("--set", "guard.probe_images=8", "--set", "model.weights=none", "--steps", "3", "--batch-size", "8")
PROFILED = (*SMALL, "--steps", "8", "--profile")  # after the third step
WAVES = (
    {
        "doctor": ["doctor"],
        "pretrain": ["pretrain", "images", "--model", "{model}", *SMALL, "--out", "run"],
        "finetune-ssl": [
            "finetune-ssl",
            "images",
            "--model",
            "{model}",
            *SMALL,
            "--steps",
            "8",
            "--profile",
            "--out",
            "tuned",
        ],
        "fp16": ["pretrain", "images", "--model", "{model}", *SMALL, "--set", "run.precision=fp16", "--out", "half"],
    },
    {
        "embed": ["embed", "images", "--weights", "run", "--out", "feats.npy"],
        "embed --keep-aspect": ["embed", "images", "--weights", "run", "--keep-aspect", "--out", "kept.npy"],
        "embed --tile": ["embed", "images", "--weights", "run", "--tile", "256", "--out", "tiles.npy"],
        "segment": ["segment", "images", "--weights", "run", "--method", "kmeans", "--out", "masks"],
        "evaluate": ["evaluate", "images", "--weights", "run"],
        "export": ["export", "run", "--format", "timm", "--out", "exported"],
    },
    {
        "cluster": ["cluster", "feats.npy", "-k", "3", "--out", "clusters.csv"],
        "search": ["search", "images/0.png", "--in", "feats.npy"],
    },
)
"""Commands by name; those of a wave run at once."""


@dataclass
class Row:
    """One row of the table; seconds and counts per step, 0 if not measured."""

    batch: int
    compiled: bool
    precision: str = ""
    seconds: float = 0.0
    images_per_second: float = 0.0
    public_images_per_second: float = 0.0
    ratio: float = 0.0
    multicrop_seconds: float = 0.0
    multicrop_share: float = 0.0
    launches: int = 0
    copies: int = 0
    waits: int = 0
    busy: float = 0.0
    multicrop_launches: int = 0
    peak_gib: float = 0.0
    tflops: float = 0.0
    first_step: float = 0.0
    slowest: list[str] = field(default_factory=list)
    error: str = ""


class Bench:
    """Measurements within a time limit.

    Args:
        options: Options of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.end: float = time.monotonic() + options.seconds
        self.device = pick_device(options.device)
        self.cuda = self.device.type == "cuda"

    def left(self) -> float:
        return self.end - time.monotonic()

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def timed(self, work: Callable[[int], None], count: int) -> float:
        """Return the seconds of one step."""
        self.wait()
        begin = time.perf_counter()
        work(count)
        self.wait()
        return (time.perf_counter() - begin) / count

    def recipe(self, batch: int) -> Recipe:
        own = (f"model.name={self.options.model}", f"run.batch_size={batch}", f"head.out_dim={self.options.prototypes}")
        return resolve(load_recipe(["natural"], [*COMMON, *own]), RunFacts(2_624, True, "vit"))

    def row(self, batch: int, compiled: bool, folder: Path, public: PublicDino | None) -> Row:
        """Measure one batch size, plain or compiled."""
        recipe, row = self.recipe(batch), Row(batch, compiled)
        held = torch.cuda.memory_allocated() if self.cuda else 0  # by the public step
        backbone = create_backbone(recipe.model.name, drop_path=recipe.model.drop_path).to(self.device)
        precision = Precision(self.device, "fp32", "fused")  # on a CPU the choice takes longer than the measurement
        if self.cuda:
            precision = build_precision(recipe, backbone, self.device)
        row.precision = precision.name
        loop = Loop(recipe, backbone, precision, folder, grey=False)
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        with FlopCounterMode(display=False) as counter:
            loop.steps(1)
        if compiled:
            compile_learner(loop.learner)
        row.first_step = self.timed(loop.steps, 1)
        works = [loop.steps, loop.loading, *([public.steps] if public else [])]
        for work in works:
            work(1)
        count = max(1, min(8, int(4 / max(self.timed(loop.steps, 1), 1e-3))))
        table = np.array([[self.timed(work, count) for work in works] for _ in range(3)])
        row.seconds, row.multicrop_seconds, *theirs = np.median(table, axis=0).tolist()
        row.images_per_second = batch / row.seconds
        row.multicrop_share = row.multicrop_seconds / row.seconds
        row.tflops = counter.get_total_flops() / row.seconds / 1e12
        if theirs:
            row.public_images_per_second = batch / theirs[0]
            row.ratio = theirs[0] / row.seconds
        if self.cuda:
            row.peak_gib = (torch.cuda.max_memory_allocated() - held) / 2**30
            self._profile(row, loop)
        return row

    def tried(self, batch: int, compiled: bool, folder: Path, public: PublicDino | None) -> Row:
        """Measure a row if there is time; the row says what failed. The public step has the first batch size only."""
        row = Row(batch, compiled, error=f"left out: {self.left():.0f} s were left")
        if self.left() > NEEDED["compiled" if compiled else "plain"]:
            try:
                row = self.row(batch, compiled, folder, public if batch == self.options.batch[0] else None)
            except Exception as error:
                row.error = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        print(json.dumps(asdict(row)), file=sys.stderr, flush=True)
        return row

    def _profile(self, row: Row, loop: Loop) -> None:
        for work, is_step in ((loop.steps, True), (loop.loading, False)):
            with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as seen:
                seconds = self.timed(work, 2)
            events = seen.events() or []
            names = [event.name for event in events]
            launches = sum("LaunchKernel" in name or "GraphLaunch" in name for name in names) // 2
            if not is_step:
                row.multicrop_launches = launches
                continue
            row.launches = launches
            row.copies = sum(name.startswith("cudaMemcpy") for name in names) // 2
            row.waits = sum(name in WAITS for name in names) // 2
            # Named ranges of the host are listed on the device too, from their first to their last kernel.
            kernels = [e for e in events if e.device_type.name == "CUDA" and not e.is_user_annotation]
            row.busy = sum(e.time_range.elapsed_us() for e in kernels) / 2e6 / seconds
            averages = [e for e in seen.key_averages() if not e.is_user_annotation]
            slowest = sorted(averages, key=lambda e: -e.self_device_time_total)[:8]
            row.slowest = [f"{e.key[:60]} x{e.count // 2} {e.self_device_time_total / 2000:.2f} ms" for e in slowest]

    def matmul(self) -> float:
        """Return the TFLOP/s of one large matrix product in the precision of the networks."""
        size = MATRIX if self.cuda else 1024
        one = torch.randn(size, size, device=self.device, dtype=torch.bfloat16 if self.cuda else torch.float32)

        def work(count: int) -> None:
            for _ in range(count):
                one @ one

        work(3)
        return float(2 * size**3 / self.timed(work, 10) / 1e12)

    def commands(self, folder: Path) -> dict[str, str]:
        """Run every command once as a subprocess, those of a wave together; return how each ended."""
        ended: dict[str, str] = {}
        for wave in WAVES:
            if self.left() < NEEDED["commands"]:
                ended |= dict.fromkeys(wave, "left out: no time")
                continue
            with ThreadPoolExecutor(len(wave)) as pool:
                ended |= dict(zip(wave, pool.map(partial(self._command, folder), wave.values()), strict=True))
        return ended

    def _command(self, folder: Path, words: list[str]) -> str:
        line = [sys.executable, "-m", "dinocli", *[word.format(model=self.options.model) for word in words]]
        more = ["--device", self.options.device] if words[0] not in ("doctor", "export") else []
        begin = time.monotonic()
        try:
            done = subprocess.run([*line, *more], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return "stopped after 60 s"
        last = (done.stderr.strip().splitlines() or [""])[-1]
        how = "ok" if done.returncode == 0 else f"EXIT {done.returncode}: {last}"
        return f"{how} ({time.monotonic() - begin:.0f} s)"

    def embed(self, folder: Path) -> float:
        """Return images per second of `embed`, decoding included, after a warm-up with a few images."""
        from dinocli.tasks.embed.embed import embed
        from dinocli.tasks.embed.embed_options import EmbedOptions

        own: dict[str, Any] = {"weights": "none", "model": self.options.model, "tokens": "pooled"}
        own |= {"batch_size": 64, "force": True}
        own["device"] = self.options.device
        files = sorted(str(path) for path in folder.glob("*.png"))
        embed(EmbedOptions(tuple(files[:16]), str(folder / "few.npy"), **own))
        begin = time.perf_counter()
        embed(EmbedOptions(tuple(files), str(folder / "all.npy"), **own))
        return len(files) / (time.perf_counter() - begin)


def public_of(bench: Bench, batch: int, folder: Path) -> PublicDino | None:
    """Build the step of the public DINO code, if there is a checkout; possible once per process."""
    if bench.options.dino_checkout is None:
        return None
    sys.path.insert(0, str(bench.options.dino_checkout))
    import vision_transformer  # type: ignore[import-not-found]

    if "small" in bench.options.model:
        vision_transformer.vit_tiny = vision_transformer.vit_small
    return PublicDino(bench.options.dino_checkout, bench.recipe(batch), bench.device, folder / "meeting")


def show(rows: list[Row], about: dict[str, Any]) -> None:
    """Print the table, as Markdown."""
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print(
        "\n| batch | compiled | img/s | public | ratio | s a step | multi-crop s | share | launches (multi-crop) ",
        end="",
    )
    print("| copies | waits | busy | peak GiB | TFLOP/s | first step s |")
    print("|" + "---|" * 15)
    for row in rows:
        if row.error:
            print(f"| {row.batch} | {row.compiled} | {row.error} |" + " |" * 12)
            continue
        print(
            f"| {row.batch} | {row.compiled} | {row.images_per_second:.0f} | {row.public_images_per_second:.0f} "
            f"| {row.ratio:.2f} | {row.seconds:.4f} | {row.multicrop_seconds:.4f} | {row.multicrop_share:.0%} "
            f"| {row.launches} ({row.multicrop_launches}) | {row.copies} | {row.waits} | {row.busy:.0%} "
            f"| {row.peak_gib:.1f} | {row.tflops:.1f} | {row.first_step:.1f} |"
        )
    for row in rows:
        for line in row.slowest:
            print(f"  {row.batch}{' compiled' if row.compiled else ''}: {line}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="vit_small_patch16_224")
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--prototypes", type=int, default=8192)
    parser.add_argument("--dino-checkout", type=Path, help="clone of facebookresearch/dino")
    parser.add_argument(
        "--seconds", type=float, default=225.0, help="time after which no measurement starts (%(default)s)"
    )
    parser.add_argument("--skip-commands", action="store_true", help="measure speed only")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    bench = Bench(options)
    train_step.IMAGES = EMBEDDED if bench.cuda else 16
    about: dict[str, Any] = {"torch": torch.__version__, "model": options.model}
    about["device"] = torch.cuda.get_device_name(bench.device) if bench.cuda else "cpu"
    about["matmul TFLOP/s"] = round(bench.matmul(), 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, count in (("images", 16), ("colour", train_step.IMAGES)):
            (folder / part).mkdir()
            train_step.IMAGES, kept = count, train_step.IMAGES
            write_images(folder / part, CANVAS, grey=False)
            train_step.IMAGES = kept
        try:
            about["embed images a second"] = round(bench.embed(folder / "colour"), 1)
        except Exception as error:
            about["embed"] = f"{type(error).__name__}: {error}"
        public = public_of(bench, options.batch[0], folder)
        rows = [bench.tried(batch, False, folder / "colour", public) for batch in options.batch]
        if not options.skip_commands:
            about |= bench.commands(folder)
        rows += [bench.tried(batch, True, folder / "colour", public) for batch in options.batch]
    show(rows, about)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
