r"""Measure the gain of adaptation on labelled sets: train without labels, evaluate start and adapted weights with them.

    python benchmarks/adaptation.py run --set steel ./steel folder --set cells ./cells labels.csv \
        --weights W --way gentle "gentle grey" --way hot "gentle grey optim.lr=1e-3" --seeds 0 1 2 --minutes 20
    python benchmarks/adaptation.py table

A way is a combination of recipes and settings, the same for every set. Each experiment (set, way, budget, seed) is a
run of dinocli in its own folder and one line in `results.jsonl`; finished ones are skipped, interrupted ones resumed.
Labels are read only after a run has ended, for the evaluation: whole images at the native size of the weights, the
scores of `dinocli evaluate`. A CSV with several columns is evaluated by its first column, and by all of them joined.
`--tag` has no effect; it makes a process easy to find.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dinocli.artifacts.run_folder import ENDED, RunFolder
from dinocli.config.load import load_recipe
from dinocli.data.labels import read_labels
from dinocli.engine.probe import whole_features
from dinocli.errors import TrainingStopped
from dinocli.models.backbone import Backbone
from dinocli.models.weight_interpolation import interpolated
from dinocli.progress import ProgressReporter
from dinocli.quality.label_scores import LabelSplit, label_scores
from dinocli.tasks.train.select import adapted_backbone
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train import train
from dinocli.tasks.train.train_context import TrainContext
from dinocli.tasks.train.train_options import TrainOptions

TABLE_SCORES = {
    "knn20_accuracy": "k-NN",
    "few_shot_5": "5-shot",
    "linear_balanced": "linear",
    "kmeans_nmi": "NMI",
}
ACCURACIES = ("knn20_accuracy", "few_shot_5", "linear_balanced")
"""Accuracies: 1 - score is an error, whose relative reduction is printed."""

Scores = dict[str, dict[str, float]]
"""Label column -> score -> value."""


@dataclass(frozen=True)
class Experiment:
    """One training run of one way on one set.

    Args:
        name: Name of the set.
        images: Folder of the set.
        labels: `folder` or a CSV.
        way: Name of the way.
        spec: Recipes and settings of the way.
        seed: Seed of the run.
        minutes: Time budget; 0 for the steps of the recipe.
    """

    name: str
    images: str
    labels: str
    way: str
    spec: str
    seed: int
    minutes: float

    @property
    def key(self) -> str:
        return f"{self.name}-{self.way}-{self.minutes:g}min-{self.seed}"


class PrintReporter(ProgressReporter):
    def line(self, text: str) -> None:
        print(f"  {text}", flush=True)

    warn = line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "table"])
    parser.add_argument("--set", nargs=3, action="append", default=[], metavar=("NAME", "IMAGES", "LABELS"))
    parser.add_argument("--way", nargs=2, action="append", default=[], metavar=("NAME", "SPEC"))
    parser.add_argument("--weights", default="vit_small_patch16_224.dino")
    parser.add_argument("--model", default="", help="beside a bare state dict")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--minutes", nargs="*", type=float, default=[0.0], help="budgets; 0 is the recipe's own steps")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("adaptation"), help="folder of results and runs")
    parser.add_argument("--tag", default="", help="ignored")
    args = parser.parse_args()
    results = args.out / "results.jsonl"
    if args.verb == "table":
        table(results)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    for experiment in experiments(args):
        done = {row["key"] for row in read(results)}
        if experiment.key in done:
            continue
        print(experiment.key, flush=True)
        row = perform(args, experiment)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    table(results)


def experiments(args: argparse.Namespace) -> Iterator[Experiment]:
    """Yield all experiments; all sets with the first seed come before any with the second."""
    for minutes in args.minutes:
        for seed in args.seeds:
            for way, spec in args.way:
                for name, images, labels in args.set:
                    yield Experiment(name, images, labels, way, spec, seed, minutes)


def perform(args: argparse.Namespace, experiment: Experiment) -> dict[str, Any]:
    """Train, unless the run has ended already, and evaluate start and adapted weights."""
    folder = RunFolder(args.out / "runs" / experiment.key)
    words = experiment.spec.split()
    settings = [word for word in words if "=" in word]
    given = [f"run.seed={experiment.seed}", f"model.weights={args.weights}", f"model.name={args.model}"]
    options = TrainOptions(
        inputs=(experiment.images,),
        recipe=load_recipe([word for word in words if "=" not in word], [*given, *settings]),
        command="adaptation",
        out=str(folder.path),
        device=args.device,
        minutes=experiment.minutes,
        resume=folder.has_started,
        force=True,
    )
    if not (folder.has_started and folder.read()["status"] in ENDED):
        try:
            train(options, PrintReporter())
        except TrainingStopped as stopped:
            print(f"  {stopped}", flush=True)
    outcome = folder.read()["outcome"]
    context = setup(options, list_images(options, None), ProgressReporter())
    start = start_scores(args, experiment, context)
    adapted = context.backbone
    if (folder.checkpoints / "best.pt").is_file():
        whole = adapted_backbone(
            context.backbone,
            folder.checkpoints / "best.pt",
            context.probes(context.loader(context.recipe), context.recipe)[0],
        )
        adapted = interpolated(context.backbone, whole, outcome["alpha"]) if outcome["alpha"] < 1 else whole
    return {
        "key": experiment.key,
        **vars(experiment),
        "start": start,
        "adapted": scores_of(context, adapted, experiment.labels),
        "keep": outcome["verdict"]["keep"],
        "reason": outcome["verdict"]["reason"],
        **{key: outcome[key] for key in ("best_step", "alpha", "steps", "seconds", "weight_interpolation")},
        "free": {line["name"]: (line["start"], line["adapted"]) for line in outcome["scores"]},
    }


def start_scores(args: argparse.Namespace, experiment: Experiment, context: TrainContext) -> Scores:
    """Return the scores of the start weights on a set, cached in a file."""
    path = args.out / f"start-{experiment.name}-{context.info.sha256[:12]}.json"
    if not path.is_file():
        path.write_text(json.dumps(scores_of(context, context.backbone, experiment.labels)))
    found: Scores = json.loads(path.read_text())
    return found


def scores_of(context: TrainContext, backbone: Backbone, labels: str) -> Scores:
    """Return the scores of weights on all images of a set, for each label column."""
    with torch.no_grad():
        features, rows = whole_features(
            context.loader(context.recipe), backbone, range(len(context.store)), context.preprocess
        )
    names = [context.store.names[row] for row in rows]
    found: Scores = {}
    for column, truth in truths(labels, names):
        scores = label_scores(features[truth.rows_T], truth)
        found[column] = {score.key: score.value for score in scores}
    return found


def truths(labels: str, names: Sequence[str]) -> Iterator[tuple[str, LabelSplit]]:
    """Yield the split of the first label column, and of all columns joined if there are several."""
    columns = read_labels(labels, names)
    first, *others = columns
    kinds = {first: columns[first]}
    if others:
        kinds[" x ".join(columns)] = [" ".join(values) for values in zip(*columns.values(), strict=True)]
    for column, values in kinds.items():
        array = np.array(values)
        known: NDArray[np.intp] = np.flatnonzero(array != "")
        yield column, LabelSplit(column, known, array[known], None, None)


def read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []


def table(results: Path) -> None:
    """Print mean and standard deviation over seeds, and the relative reduction of the error."""
    groups: dict[tuple[str, str, float, str], list[dict[str, Any]]] = {}
    for row in read(results):
        for column in row["adapted"]:
            groups.setdefault((row["name"], column, row["minutes"], row["way"]), []).append(row)
    if not groups:
        raise SystemExit(f"nothing in {results}: `adaptation.py run` comes first")
    head = [f"{word:>30}" for word in TABLE_SCORES.values()]
    print(f"{'set, label, way':44} {'runs':>4} {'kept':>4}", *head)
    for (name, column, minutes, way), rows in sorted(groups.items()):
        cells = [cell(rows, column, score) for score in TABLE_SCORES]
        kept = sum(row["keep"] == "adapted" for row in rows)
        title = f"{name} {column}, {way}" + (f" {minutes:g} min" if minutes else "")
        print(f"{title[:44]:44} {len(rows):4} {kept:4}", *(f"{text:>30}" for text in cells))


def cell(rows: Sequence[dict[str, Any]], column: str, score: str) -> str:
    """Return the cell of one score: start, mean and standard deviation of the adapted weights, change of the error."""
    before = statistics.fmean(row["start"][column][score] for row in rows)
    values = [row["adapted"][column][score] for row in rows]
    mean, spread = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
    error = (
        f" {(mean - before) / (1 - before):+.1%}" if score in ACCURACIES and before < 1 else f" {mean - before:+.3f}"
    )
    return f"{before:.3f}>{mean:.3f} sd {spread:.3f}{error}"


if __name__ == "__main__":
    main()
