"""Which label-free score can tell good weights from bad ones? Train well and badly, look often, correlate.

    python benchmarks/guard_study.py run ./images --name steel --weights W --labels folder --out study
    python benchmarks/guard_study.py table --out study

`run` continues DINO in several ways, some of them harmful on purpose, and keeps the features of a fixed sample of clean
images and of augmented views at several steps of each: one `.npz` a look. It takes up where it was interrupted. `table`
measures every look with and without the labels, and prints the rank correlation of each label-free score with the k-NN
and linear accuracy over all looks of a set.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import normalize

from dinocli.augment.multicrop import MultiCrop
from dinocli.augment.resample import normalise, resize_square
from dinocli.config.load import load_recipe
from dinocli.data.loader import Loader
from dinocli.engine.build import build_learner, fill_center, set_stage, view_specs
from dinocli.engine.norms import adapt_norms
from dinocli.engine.step import train_step
from dinocli.engine.watch import Watcher
from dinocli.models.backbone import Backbone
from dinocli.models.features import extract
from dinocli.quality.neighbours import accuracy, knn_classify
from dinocli.quality.scores import (
    alpha_req,
    augmentation_retrieval,
    feature_std,
    linear_cka,
    mean_cosine,
    rankme,
    uniformity,
)
from dinocli.quality.views import alignment, lidar, neighbour_overlap
from dinocli.tasks.ground import Ground, Job, list_images, open_world, prepare
from dinocli.tasks.labels import read_labels

IMAGES, VIEWED, DRAWS, BATCH = 500, 250, 3, 50
LOOKS = (0.0, 0.5, 1.0)
PLAIN = "frozen"
"""The run whose first look is the start: its weights are untouched."""

SMALL = ("views.global_size=128", "views.local_size=64", "views.local_count=4", "run.batch_size=32", "run.steps=100")
RUNS: dict[str, tuple[str, ...]] = {
    "adapted": ("model.batch_norm='adapted'",),
    "adapted-hot": ("model.batch_norm='adapted'", "optim.lr=5e-4"),
    "frozen": (),
    "hot": ("optim.lr=1e-3",),
    "long": ("run.steps=400",),
    "train-bn": ("model.batch_norm='train'",),
    "paper": (
        *("optim.lr=6.25e-5", "optim.head_lr=6.25e-5", "optim.head_warmup=0.0", "optim.weight_decay_end=0.4"),
        *("dino.teacher_momentum=0.996", "head.out_dim=65536"),
    ),
    "no-sharpening": ("dino.teacher_temp=0.5", "dino.warmup_teacher_temp=0.5", "optim.lr=1e-3"),
    "no-centring": ("dino.center_momentum=1.0", "optim.lr=1e-3"),
}
"""Good, too long, too hot, and ways to do harm; each is a difference from the recipe."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "table"])
    parser.add_argument("images", nargs="?", default="", help="folder of the set")
    parser.add_argument("--name", default="set", help="of the set")
    parser.add_argument("--weights", default="vit_small_patch16_224.dino")
    parser.add_argument("--labels", default="folder", help="`folder` or a CSV")
    parser.add_argument("--column", default="", help="of the CSV; the first one if empty")
    parser.add_argument("--recipe", default="grey")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(RUNS), help="runs to do")
    parser.add_argument("--out", type=Path, default=Path("study"))
    args = parser.parse_args()
    if args.verb == "table":
        table(args.out)
        return
    for run in args.only:
        study(args, run)


def study(args: argparse.Namespace, run: str) -> None:
    """Do one run, look by look; a run whose last look is there is done."""
    folder = args.out / args.name
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / f"{run}-{args.seed}-{LOOKS[-1]:.2f}.npz").is_file():
        return
    settings = [*SMALL, f"model.weights={args.weights!r}", f"run.seed={args.seed}", *RUNS[run]]
    job = Job(inputs=(args.images,), recipe=load_recipe([args.recipe], settings))
    world, device = open_world("cpu" if not torch.cuda.is_available() else "auto")
    images = list_images(job, None)
    ground = prepare(job, images, world, device, Watcher())
    learner = build_learner(ground.recipe, ground.backbone, ground.preprocess, ground.precision, world)
    loader = ground.loader()
    labels = labels_of(args, ground)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(labels != ""))[:IMAGES]
    if ground.recipe.model.batch_norm == "adapted":
        adapt_norms(learner, loader, ground.preprocess, args.seed)
    fill_center(learner, loader, ground.recipe.dino.center_batches)
    steps = learner.plan.steps
    due = {round(share * steps): share for share in LOOKS}
    batches = loader.steps(0, steps)
    for step in range(steps + 1):
        if step in due:
            looked = look(ground, loader, learner.teacher.backbone, chosen.tolist())
            target = folder / f"{run}-{args.seed}-{due[step]:.2f}.npz"
            np.savez_compressed(target, **looked, labels=labels[chosen])
            print(args.name, run, step, flush=True)
        if step < steps:
            now = learner.plan.at(step)
            if now.backbone_learns != learner.student.backbone_learns:
                set_stage(learner, backbone_learns=now.backbone_learns)
            train_step(learner, next(batches), step)
    batches.close()


def labels_of(args: argparse.Namespace, ground: Ground) -> NDArray[np.str_]:
    found = read_labels(args.labels, ground.store.names)
    return np.array(found[args.column or next(iter(found))])


def look(ground: Ground, loader: Loader, backbone: Backbone, chosen: list[int]) -> dict[str, Any]:
    """Return features of the clean images, and of several augmented views of the first of them."""
    about = ground.preprocess

    def clean() -> Iterator[torch.Tensor]:
        for batch in loader.whole(chosen, BATCH):
            yield normalise(resize_square(batch.pixels_BCHW, batch.sizes_B2, about.size), about.mean, about.std)

    def augmented(draw: int) -> Iterator[torch.Tensor]:
        query = view_specs(ground.recipe.views)[0]
        views = MultiCrop(
            [type(query)(**{**vars(query), "size": about.size})],
            mean=about.mean,
            std=about.std,
            grey=about.grey,
            seed=1,
        )
        for batch in loader.whole(chosen[:VIEWED], BATCH):
            yield views(
                batch.pixels_BCHW, batch.sizes_B2, step=draw, start=batch.start, global_batch=len(chosen[:VIEWED])
            )[0]

    found = {"clean": extract(backbone, clean(), autocast=None)}
    for draw in range(DRAWS):
        found[f"view{draw}"] = extract(backbone, augmented(draw), autocast=None)
    return {key: value.astype(np.float16) for key, value in found.items()}


def measures(look: dict[str, NDArray[np.float32]], start: dict[str, NDArray[np.float32]]) -> dict[str, float]:
    """Compute every label-free score of one look."""
    clean, views = look["clean"], [look[f"view{draw}"] for draw in range(DRAWS)]
    few = clean[:VIEWED]
    retrieval = augmentation_retrieval(few, views[0])
    unit, viewed = normalize(few), normalize(views[0])
    return {
        "retrieval_mrr": float(retrieval.reciprocal_rank_N.mean()),
        "retrieval_top1": float(retrieval.hit_N.mean()),
        "view_to_view_mrr": float(augmentation_retrieval(views[1], views[2]).reciprocal_rank_N.mean()),
        "feature_std": feature_std(clean),
        "mean_cosine": mean_cosine(clean),
        "rankme": rankme(clean),
        "alpha_req": alpha_req(clean),
        "lidar": lidar(np.stack(views)),
        "alignment": -alignment(few, views[0]),
        "uniformity": -uniformity(few),
        "contrast": float((unit * viewed).sum(1).mean() - (unit @ viewed.T).mean()) / float((unit @ viewed.T).std()),
        "cka_to_start": linear_cka(clean, start["clean"]),
        "overlap_with_start": neighbour_overlap(clean, start["clean"]),
        "overlap_of_views": neighbour_overlap(views[1], views[2]),
    }


def _loaded(path: Path) -> dict[str, NDArray[np.float32]]:
    arrays = np.load(path)
    return {key: arrays[key].astype(np.float32) for key in arrays.files if key != "labels"}


def table(out: Path) -> None:
    """Measure every look, write `measures.csv`, print correlations."""
    rows: list[dict[str, Any]] = []
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        start = _loaded(next(folder.glob(f"{PLAIN}-*-0.00.npz")))
        for path in sorted(folder.glob("*.npz")):
            run, seed, share = path.stem.rsplit("-", 2)
            look, labels = _loaded(path), np.load(path)["labels"]
            if not all(np.isfinite(value).all() for value in look.values()):
                continue
            probe = LogisticRegression(C=10.0, max_iter=300, class_weight="balanced")
            linear = cross_val_predict(probe, normalize(look["clean"]), labels, cv=5)
            truth = {"knn": accuracy(labels, knn_classify(look["clean"], labels)), "linear": accuracy(labels, linear)}
            rows.append({"set": folder.name, "run": run, "seed": seed, "at": share, **truth, **measures(look, start)})
    if not rows:
        raise SystemExit(f"no look in {out}: run `guard_study.py run` first")
    with (out / "measures.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    sets = sorted({row["set"] for row in rows})
    print(f"{'Spearman':20}", *(f"{name[:9]:>9} knn  linear" for name in sets))
    for score in list(rows[0])[6:]:
        cells = []
        for name in sets:
            own = [row for row in rows if row["set"] == name]
            for target in ("knn", "linear"):
                cells.append(spearmanr([row[score] for row in own], [row[target] for row in own]).statistic)
        print(f"{score:20}", *(f"{cell:+9.2f}" for cell in cells))


if __name__ == "__main__":
    main()
