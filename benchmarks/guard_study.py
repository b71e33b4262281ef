"""Correlate label-free scores with accuracy over checkpoints of good and deliberately bad runs.

    python benchmarks/guard_study.py train ./images --name steel --weights W --out study
    python benchmarks/guard_study.py measure ./images --name steel --weights W --labels folder --out study
    python benchmarks/guard_study.py table --out study

`train` continues DINO in several ways, some of them deliberately harmful, and saves the weights of two steps of each.
`measure` computes the features of a fixed sample by each checkpoint: clean images with labels for the accuracies, and
other images for the scores: whole, augmented views, crops without photometric operations, and quadrants. Both continue
an interrupted run. `table` prints the rank correlation of each score with k-NN, 5-shot and linear accuracy, and how
often it decides correctly between a checkpoint and the start.
"""

import argparse
import copy
import csv
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from dinocli.augment.multicrop import MultiCrop
from dinocli.augment.resample import normalise, resize_square
from dinocli.augment.view_pipeline import ViewSpec
from dinocli.config.load import load_recipe
from dinocli.data.labels import read_labels
from dinocli.engine import batch_norm_init
from dinocli.engine.batch_norm_init import adapt_batch_norm
from dinocli.engine.build import build_learner, set_stage
from dinocli.engine.build_views import view_specs
from dinocli.engine.focus_maps import build_focus
from dinocli.engine.initialize import initialize
from dinocli.engine.step import Learner, train_step
from dinocli.models import alpha_bn as statistics
from dinocli.models.features import extract
from dinocli.progress import ProgressReporter
from dinocli.quality.crop_quadrant_retrieval import crop_quadrant_retrieval
from dinocli.quality.label_scores import LabelSplit, label_scores
from dinocli.quality.multiview_scores import alignment, lidar
from dinocli.quality.scores import alpha_req, augmentation_retrieval, feature_std, linear_cka, rankme, uniformity
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train_context import TrainContext
from dinocli.tasks.train.train_options import TrainOptions

Features = NDArray[np.float32]

LABELLED, PROBED, BATCH = 1200, 250, 50
PROBED_AT = (1 / 3, 1.0)
START = "bn-0.00"
TRUTH = {"knn20_accuracy": "k-NN", "few_shot_5": "5-shot", "linear_balanced": "linear"}
CLEAR = 0.01
"""Mean difference of the three accuracies above which a checkpoint counts as better or worse than the start."""

STATISTICS_OF = 384
"""Number of images for batch-norm statistics."""

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Weights alpha of the folder's batch-norm statistics in untrained checkpoints."""

SMALL = (
    *("views.global_size=128", "views.local_size=64", "run.batch_size=32", "dino.teacher_momentum=0.98"),
    *("run.steps=1", "head.out_dim=1024", "model.trainable='all'", "optim.lr=3e-4", "optim.layer_decay=1.0"),
    *("run.precision='fp32'", "run.attention='fused'", "run.compile=false"),
)
"""Small runs without timing trials, so that a checkpoint takes minutes."""

CROPS = ("views.local_count=4", "views.global_scale=[0.4,1.0]")
COLD = ("head.init='random'", "optim.head_warmup=0.2", "dino.teacher_momentum=0.99")
RUNS: dict[str, tuple[int, tuple[str, ...]]] = {
    "default": (60, ()),
    "focus": (60, ("views.focus=0.5",)),
    "locals": (60, ("views.local_count=4",)),
    "locals-focus": (60, ("views.local_count=4", "views.focus=0.5")),
    "frozen": (30, ("model.batch_norm='frozen'",)),
    "quarter": (30, ()),
    "gentle": (150, ("optim.lr=3e-4",)),
    "crops": (150, (*CROPS, "optim.lr=1e-4")),
    "crops-hot": (150, (*CROPS, "optim.lr=1e-3")),
    "crops-cold": (150, (*CROPS, *COLD, "optim.lr=1e-3")),
    "crops-cold-long": (300, (*CROPS, *COLD, "optim.lr=1e-4")),
    "train-bn": (80, (*CROPS, *COLD, "model.batch_norm='train'", "optim.lr=1e-3")),
    "too-hot": (80, (*CROPS, "optim.lr=1e-2", "optim.head_lr=1e-2")),
    "uniform": (80, (*CROPS, "dino.teacher_temp=0.5", "dino.warmup_teacher_temp=0.5", "optim.lr=3e-3")),
    "one-hot": (80, (*CROPS, "dino.center_momentum=1.0", "dino.center_batches=0", "optim.lr=3e-3")),
}
"""Steps, and settings that differ from the recipe: good ones, too high rates, and harmful ones."""

TRAINED_SHARES = {"quarter": 0.25}
"""Weight alpha of the folder's batch-norm statistics in runs where it is not the default."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["train", "measure", "table"])
    parser.add_argument("images", nargs="?", default="", help="folder of the set")
    parser.add_argument("--name", default="set", help="of the set")
    parser.add_argument("--weights", default="vit_small_patch16_224.dino")
    parser.add_argument("--model", default="", help="beside a bare state dict")
    parser.add_argument("--labels", default="folder", help="`folder` or a CSV")
    parser.add_argument("--column", default="", help="of the CSV; the first one if empty")
    parser.add_argument("--recipe", nargs="*", default=["gentle"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="*", default=list(RUNS), help="runs to do")
    parser.add_argument("--shares", nargs="*", type=float, default=SHARES, help="of batch-norm statistics, untrained")
    parser.add_argument("--out", type=Path, default=Path("study"))
    args = parser.parse_args()
    if args.verb == "table":
        table(args.out)
        return
    folder = args.out / args.name
    folder.mkdir(parents=True, exist_ok=True)
    if args.verb == "measure":
        measure(args, folder)
        return
    untrained(args, folder)
    for run in args.only:
        train(args, folder, run)


def context_of(args: argparse.Namespace, *settings: str) -> tuple[TrainContext, Learner]:
    """Return the prepared set, and a learner with the start weights."""
    start = (f"model.weights={args.weights!r}", f"model.name={args.model!r}")
    recipe = load_recipe(args.recipe, [*SMALL, *start, *settings])
    options = TrainOptions(inputs=(args.images,), recipe=recipe, device=args.device)
    context = setup(options, list_images(options, None), ProgressReporter())
    learner = build_learner(context.recipe, context.backbone, context.preprocess, context.precision, context.world)
    return context, learner


def untrained(args: argparse.Namespace, folder: Path) -> None:
    """Save the start weights with each weight of the folder's batch-norm statistics."""
    paths = {folder / f"bn-{share:.2f}@0.pt": share for share in args.shares}
    if all(path.is_file() for path in paths):
        return
    context, learner = context_of(args)
    start = copy.deepcopy(learner.teacher.backbone.state_dict())
    for path, share in paths.items():
        learner.teacher.backbone.load_state_dict(start)
        with batch_norm_alpha(share):
            adapt_batch_norm(learner, context.loader(context.recipe), context.preprocess, 0, context.reporter)
        torch.save(learner.teacher.backbone.state_dict(), path)


@contextmanager
def batch_norm_alpha(share: float) -> Iterator[None]:
    """Set alpha and the number of images of the batch-norm adaptation within the context."""
    kept = statistics.ALPHA, batch_norm_init.MAX_IMAGES
    statistics.ALPHA, batch_norm_init.MAX_IMAGES = share, STATISTICS_OF
    try:
        yield
    finally:
        statistics.ALPHA, batch_norm_init.MAX_IMAGES = kept


def train(args: argparse.Namespace, folder: Path, run: str) -> None:
    """Do one run and save the teacher's weights at every probe, unless those of the last probe exist."""
    steps, settings = RUNS[run]
    if (folder / f"{run}@{steps}.pt").is_file():
        return
    context, learner = context_of(args, f"run.steps={steps}", *settings)
    loader = context.loader(context.recipe)
    learner.multicrop.focus = build_focus(
        context.backbone, loader, context.recipe.views.focus, context.preprocess, ProgressReporter()
    )
    with batch_norm_alpha(TRAINED_SHARES.get(run, statistics.ALPHA)):
        initialize(learner, loader, context.recipe, context.preprocess, ProgressReporter())
    due = {round(share * steps) for share in PROBED_AT}
    batches = loader.steps(0, steps)
    for step in range(steps):
        now = learner.schedule.at(step)
        if now.backbone_learns != learner.student.backbone_learns:
            set_stage(learner, backbone_learns=now.backbone_learns)
        train_step(learner, next(batches), step)
        if step + 1 in due:
            torch.save(learner.teacher.backbone.state_dict(), folder / f"{run}@{step + 1}.pt")
            print(args.name, run, step + 1, flush=True)
    batches.close()


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Save features and accuracies of every checkpoint that has none yet."""
    context, _ = context_of(args)
    names = context.store.names
    columns = read_labels(args.labels, names)
    labels = np.array(columns[args.column or next(iter(columns))])
    order = np.random.default_rng(0).permutation(np.flatnonzero(labels != "")).tolist()
    known, probed = sorted(order[:LABELLED]), sorted(order[-PROBED:])
    for path in sorted(folder.glob("*.pt")):
        if path.with_suffix(".json").is_file():
            continue
        backbone = copy.deepcopy(context.backbone)
        backbone.load_state_dict(torch.load(path, weights_only=True))
        backbone.freeze_batch_norm()
        seen = {
            name: extract(backbone, images, autocast=None) for name, images in views_of(context, known, probed).items()
        }
        rounded: dict[str, Any] = {name: rows.astype(np.float16) for name, rows in seen.items()}
        np.savez_compressed(path.with_suffix(".npz"), **rounded)
        truth = LabelSplit("labels", np.arange(len(known)), labels[known], None, None)
        finite = np.isfinite(seen["labelled"]).all()
        found = {score.key: score.value for score in label_scores(seen["labelled"], truth)} if finite else {}
        path.with_suffix(".json").write_text(json.dumps(found))
        print(args.name, path.stem, {word: round(found.get(key, 0), 4) for key, word in TRUTH.items()}, flush=True)


def views_of(context: TrainContext, known: Sequence[int], probed: Sequence[int]) -> dict[str, Iterator[torch.Tensor]]:
    """Return batches of images by name: labelled, clean, augmented views, crops, quadrants."""
    loader, about = context.loader(context.recipe), context.preprocess
    view = replace(view_specs(context.recipe.views)[0], size=about.size)
    crop = replace(view, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0)

    def whole(images: Sequence[int]) -> Iterator[torch.Tensor]:
        for batch in loader.batches(images, BATCH):
            yield normalise(resize_square(batch.pixels_BCHW, batch.sizes_B2, about.size), about.mean, about.std)

    def drawn(spec: ViewSpec, draw: int) -> Iterator[torch.Tensor]:
        views = MultiCrop([spec], mean=about.mean, std=about.std, grey=about.grey, seed=1)
        for batch in loader.batches(probed, BATCH):
            pixels, sizes = batch.pixels_BCHW, batch.sizes_B2
            yield views(pixels, sizes, step=draw, start=batch.start, global_batch=len(probed))[0]

    def quarter(number: int) -> Iterator[torch.Tensor]:
        half, (row, column) = about.size // 2, divmod(number, 2)
        for images in whole(probed):
            yield images[:, :, row * half : (row + 1) * half, column * half : (column + 1) * half]

    return {
        "labelled": whole(known),
        "clean": whole(probed),
        **{f"view{draw}": drawn(view, draw) for draw in range(2)},
        **{f"crop{draw}": drawn(crop, draw) for draw in range(2)},
        **{f"quarter{number}": quarter(number) for number in range(4)},
    }


def mrr(one: Features, other: Features) -> float:
    return float(augmentation_retrieval(one, other).reciprocal_rank_N.mean())


def apart(views: Sequence[Features]) -> float:
    """Return the variance between images over the variance within them, L2-normalised."""
    units = np.stack([normalize(view) for view in views])
    means = units.mean(axis=0)
    return float(np.square(means - means.mean(axis=0)).sum() / np.square(units - means).sum() * len(views))


def neighbour_overlap(one: Features, other: Features, k: int = 10) -> float:
    """Return the mean share of k nearest neighbours that two networks, or two views, have in common."""
    nearest = (
        NearestNeighbors(n_neighbors=k, metric="cosine").fit(features).kneighbors(return_distance=False)
        for features in (one, other)
    )
    return float(np.mean([len(np.intersect1d(*pair)) / k for pair in zip(*nearest, strict=True)]))


def scores(seen: dict[str, Features], start: dict[str, Features]) -> dict[str, float]:
    """Return every label-free score of one checkpoint."""
    clean, views, crops = seen["clean"], [seen["view0"], seen["view1"]], [seen["crop0"], seen["crop1"]]
    quarters = [seen[f"quarter{number}"] for number in range(4)]
    found = {
        "crop_quadrant_retrieval": float(crop_quadrant_retrieval(clean, crops[0], np.stack(quarters)).mean()),
        "view_mrr": mrr(clean, views[0]),
        "view_to_view_mrr": mrr(*views),
        "crop_mrr": mrr(clean, crops[0]),
        "part_mrr": (mrr(quarters[0], quarters[3]) + mrr(quarters[1], quarters[2])) / 2,
        "view_lidar": lidar(np.stack(views)),
        "crop_lidar": lidar(np.stack([clean, *crops])),
        "part_lidar": lidar(np.stack(quarters)),
        "view_ratio": apart(views),
        "part_ratio": apart(quarters),
        "feature_std": feature_std(seen["labelled"]),
        "rankme": rankme(seen["labelled"]),
        "-alpha_req": -alpha_req(seen["labelled"]),
        "evenness": -uniformity(clean),
        "alignment": -alignment(clean, views[0]),
        "overlap_of_views": neighbour_overlap(views[0], views[1]),
        "overlap_of_parts": neighbour_overlap(quarters[0], quarters[3]),
        "cka_to_start": linear_cka(seen["labelled"], start["labelled"]),
        "overlap_with_start": neighbour_overlap(clean, start["clean"]),
    }
    pairs = [("view_mrr", "view_lidar"), ("view_mrr", "feature_std"), ("crop_mrr", "crop_lidar")]
    for one, other in [*pairs, ("part_mrr", "rankme"), ("part_mrr", "part_lidar"), ("crop_mrr", "part_mrr")]:
        found[f"{one} x {other}"] = math.log(max(found[one], 1e-6)) + math.log(max(found[other], 1e-6))
    return found


def table(out: Path) -> None:
    """Compute the scores of every checkpoint, write `measures.csv`, print correlations and decisions."""
    rows = list(checkpoints(out))
    if not rows:
        raise SystemExit(f"no checkpoint measured in {out}: `guard_study.py train` and `measure` come first")
    with (out / "measures.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    by_set = {name: [row for row in rows if row["set"] == name] for name in sorted({row["set"] for row in rows})}
    print(f"{len(rows)} checkpoints:", ", ".join(f"{name} {len(own)}" for name, own in by_set.items()))
    words = " ".join(f"{word:>7}" for word in TRUTH.values())
    print(f"{'Spearman':24}", *(f"{name:>6}: {words}" for name in by_set), " right, of")
    for score in list(rows[0])[2 + len(TRUTH) :]:
        cells = [
            f"{'':6}  " + " ".join(f"{spearman(own, score, word):+7.2f}" for word in TRUTH.values())
            for own in by_set.values()
        ]
        right, of = (sum(numbers) for numbers in zip(*(decisions(own, score) for own in by_set.values()), strict=True))
        print(f"{score:24}", *cells, f" {right:5}, {of}")


def checkpoints(out: Path) -> Iterator[dict[str, Any]]:
    """Yield one row for each checkpoint with finite features."""
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        start = _loaded(folder / f"{START}@0.npz")
        for path in sorted(folder.glob("*.json")):
            truth, seen = json.loads(path.read_text()), _loaded(path.with_suffix(".npz"))
            if truth and all(np.isfinite(rows).all() for rows in seen.values()):
                known = {word: truth[key] for key, word in TRUTH.items()}
                yield {"set": folder.name, "weights": path.stem, **known, **scores(seen, start)}


def _loaded(path: Path) -> dict[str, Features]:
    arrays = np.load(path)
    return {key: arrays[key].astype(np.float32) for key in arrays.files}


def spearman(rows: Sequence[dict[str, Any]], score: str, truth: str) -> float:
    return float(spearmanr([row[score] for row in rows], [row[truth] for row in rows]).statistic)


def decisions(rows: Sequence[dict[str, Any]], score: str) -> tuple[int, int]:
    """Return the number of correct decisions between checkpoint and start, and of those with a clear difference."""
    start = next(row for row in rows if row["weights"] == f"{START}@0")
    right = of = 0
    for row in rows:
        gain = sum(row[word] - start[word] for word in TRUTH.values()) / len(TRUTH)
        if abs(gain) >= CLEAR:
            of += 1
            right += (row[score] > start[score]) == (gain > 0)
    return right, of


if __name__ == "__main__":
    main()
