r"""Measure what training and the default feature give: `pooled` and `pooled+rare` of three weights.

These are the start, `statistics` (the start with the batch-norm statistics of the trained weights), and the trained
weights.

    python benchmarks/gain.py run --set cells ./cells labels.csv --set tiles ./tiles tiles.csv --groups tiles tile \
        --weights W --model tf_efficientnet_lite0 --work DIR --steps 200
    python benchmarks/gain.py rows --work DIR      # for results/gain.json

`run` calls the commands of a user: `finetune-ssl` with its defaults, `embed` of all weights
with both features, and `evaluate`. Each result is a line in `DIR/gain.jsonl`; what is there is not computed again, and
an interrupted training is continued. A run whose verdict keeps the start is measured with the weights that it trained,
and the table says so. Labels are read by `evaluate` alone. The sets of the published table are made by
`sets.py`; of the solar cells 900 images, drawn in the same way.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dinocli.config.preprocess import Preprocess
from dinocli.engine.holdout_comparison import with_statistics
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import load_backbone
from dinocli.quality.cosine import mean_cosine

TOKENS = ("pooled", "pooled+rare")
SCORES = {
    "knn": "knn20_accuracy",
    "macro_f1": "knn20_macro_f1",
    "few_shot_5": "few_shot_5",
    "linear": "linear_balanced",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "rows"])
    parser.add_argument("--set", nargs=3, action="append", default=[], metavar=("NAME", "IMAGES", "LABELS"))
    parser.add_argument("--groups", nargs=2, action="append", default=[], metavar=("NAME", "COLUMN"))
    parser.add_argument("--weights", help="start weights")
    parser.add_argument("--model", default="", help="timm name, beside a bare state dict")
    parser.add_argument("--work", type=Path, required=True, help="folder of runs, features and results")
    parser.add_argument("--steps", help="training steps (default: those of finetune-ssl)")
    args = parser.parse_args()
    if args.verb == "rows":
        print(json.dumps(summary(rows(args.work)), indent=1))
        return
    args.work.mkdir(parents=True, exist_ok=True)
    for name, images, labels in args.set:
        measure(args, name, images, labels)


def measure(args: argparse.Namespace, name: str, images: str, labels: str) -> None:
    """Train on one set, and evaluate both features of both weights; keep one line for each."""
    start = ["--weights", args.weights, *(["--model", args.model] if args.model else [])]
    run = args.work / "runs" / name
    if not ended(run):
        go_on = ["--resume"] if (run / "run.json").is_file() else []
        steps = ["--steps", args.steps] if args.steps else []
        dinocli("finetune-ssl", images, *start, "--out", str(run), *steps, *go_on)
    outcome = json.loads((run / "run.json").read_text())["outcome"]
    kept = outcome["verdict"]["keep"] != "start"
    trained = run / "adapted" if (run / "adapted").is_dir() else run / "backbone"
    statistics = args.work / "statistics" / name
    weights = {"start": start, "statistics": ["--weights", str(statistics)], "trained": ["--weights", str(trained)]}
    groups = [word for of, column in args.groups if of == name for word in ("--groups", column)]
    features = args.work / "features"
    features.mkdir(exist_ok=True)
    for tokens in TOKENS:
        for which, options in weights.items():
            if any((row["set"], row["weights"], row["tokens"]) == (name, which, tokens) for row in rows(args.work)):
                continue
            if which == "statistics":
                pooled = [features / f"{name}-{of}-pooled.npy" for of in ("start", "statistics")]
                change = similarity_change(*pooled) if tokens != "pooled" else 0.0
                save_statistics(statistics, (args.weights, args.model), trained, change)
            file = features / f"{name}-{which}-{tokens}.npy"
            dinocli("embed", images, *options, "--tokens", tokens, "--out", str(file), "--force")
            scores = json.loads(dinocli("evaluate", str(file), "--labels", labels, *groups, "--views", "0", "--json"))
            row = {"set": name, "weights": which, "tokens": tokens, "kept": kept, "scores": scores}
            row |= {"steps": outcome["steps"], "best_step": outcome["best_step"], "seconds": outcome["seconds"]}
            row |= {"verdict": outcome["verdict"]["reason"]}
            with (args.work / "gain.jsonl").open("a", encoding="utf-8") as results:
                results.write(json.dumps(row) + "\n")


def save_statistics(folder: Path, start: tuple[str, str], trained: Path, change: float) -> None:
    """Save the start weights with the batch-norm statistics of the trained weights, as a run saves weights."""
    backbone, info, _ = load_backbone(*start)
    adapted, _, stored = load_backbone(str(trained))
    assert stored is not None
    mixed = with_statistics(backbone, adapted)
    save_backbone(folder, mixed, replace(info, similarity_change=change), Preprocess.from_dict(stored))


def similarity_change(start: Path, statistics: Path) -> float:
    """Return the change of the mean cosine of the images, which the default feature takes into account."""
    return mean_cosine(np.load(statistics)) - mean_cosine(np.load(start))


def ended(run: Path) -> bool:
    return (run / "run.json").is_file() and "outcome" in json.loads((run / "run.json").read_text())


def dinocli(*words: str) -> str:
    """Run a command; return its stdout. Its stderr is shown."""
    print("dinocli", *words, file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "dinocli", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"dinocli {words[0]} ended with {done.returncode}")
    return done.stdout


def rows(work: Path) -> list[dict[str, Any]]:
    file = work / "gain.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def summary(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of `benchmarks/results/gain.json`: the scores of each set by feature and weights."""
    found: dict[str, dict[str, Any]] = {}
    for row in results:
        facts = {"set": row["set"], "images": row["scores"]["images"], "kept": row["kept"], "verdict": row["verdict"]}
        of_set = found.setdefault(row["set"], facts | {"best_step": row["best_step"]})
        scores = {score["key"]: score["value"] for score in row["scores"]["scores"] if score["labels"]}
        of_set.setdefault(row["tokens"], {})[row["weights"]] = {
            name: round(scores[key], 3) for name, key in SCORES.items()
        }
    return list(found.values())


if __name__ == "__main__":
    main()
