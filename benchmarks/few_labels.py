r"""Accuracy of `dinocli classify` with 5, 10, 20 and 50 labels per class, and validity of its precision guarantee.

    dinocli embed ./neu --weights W --out neu.npy
    python benchmarks/few_labels.py run --set neu neu.npy folder --set cells cells.npy labels.csv
    python benchmarks/few_labels.py table

Each draw splits the images of a set into two halves. Images of one half are labelled in three ways: the same number of
each class; at random; and by `--suggest`, starting from 5 random ones per class. The other half is classified by the
saved classifier: accuracy, mean recall, calibration (mean confidence minus accuracy), and, for `--precision 0.95`, the
accepted share and its precision. Every result is a line in the JSON file; existing results are not measured again.
"""

import argparse
import csv
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.files import write_atomic

RESULTS = Path(__file__).parent / "results" / "few_labels.json"
SHOTS, WAYS = (5, 10, 20, 50), ("per class", "random", "suggested")
PRECISION, PROMISED = 0.95, 0.93
Key = tuple[str, str, int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "table"])
    parser.add_argument("--set", nargs=3, action="append", default=[], metavar=("NAME", "FEATS", "LABELS"))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    parser.add_argument("--shots", nargs="*", type=int, default=SHOTS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    lines = json.loads(args.results.read_text())["draws"] if args.results.is_file() else []
    if args.verb == "run":
        for draw in range(args.draws):
            for name, features, labels in args.set:
                run(args, lines, name, Path(features), labels, draw)
    save(args.results, lines)
    for row in table(lines):
        print("\t".join(row))


def save(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write all draws, and the section of docs/results.md."""
    words = (
        "`dinocli classify` on features of the ImageNet weights (EfficientNet-Lite0, not adapted). Each draw splits a "
        "set into halves: labels are taken from one, the other is classified. *Labels*: *per class* takes as many of "
        "each class, *random* as many in all; *suggested* starts from 5 random labels a class and follows `--suggest` "
        "up to the same number. *Confidence error*: mean confidence minus accuracy. *Accepted*: fraction that "
        f"`--precision 0.95` accepts. *Held*: draws in which at least {PROMISED} of the accepted labels are right, of "
        "those that accept any."
    )
    blocks = [words, {"header": HEADER, "rows": table(lines)}]
    about = {
        "date": "2026-11-29",
        "command": "python benchmarks/few_labels.py run --set neu neu.npy folder ...",
        "hardware": "two cores of a shared virtual machine",
        "log": "A handful of labels: how good, and does the precision hold",
        "section": {
            "title": "A label for every image, from a few",
            "part": "A few labels",
            "order": 10,
            "blocks": blocks,
        },
    }
    body = ",\n".join(map(json.dumps, lines))
    write_atomic(path, f'{json.dumps(about, indent=1)[:-2]},\n "draws": [\n{body}\n]}}\n')


def run(
    args: argparse.Namespace, lines: list[dict[str, Any]], name: str, features: Path, labels: str, draw: int
) -> None:
    """Measure one draw of a set, except for existing results."""
    from dinocli.artifacts.feature_file import open_features
    from dinocli.data.labels import read_labels

    done: set[Key] = {(line["set"], line["way"], line["shots"], line["draw"]) for line in lines}
    file = open_features(features)
    truth_N = np.array(next(iter(read_labels(labels, file.names).values())))
    half_N = np.random.default_rng(draw).permutation(len(truth_N)) < len(truth_N) // 2
    with tempfile.TemporaryDirectory() as folder:
        sides = [
            Side(Path(folder, f"{side}.npy"), file.flat()[rows], truth_N[rows])
            for side, rows in (("pool", half_N), ("test", ~half_N))
        ]
        for way in args.ways:
            asked: list[int] = []
            for shots in args.shots:
                asked = spend(way, shots, asked, sides[0], draw)
                if (name, way, shots, draw) in done:
                    continue
                found = {"set": name, "way": way, "shots": shots, "draw": draw, "labels": len(asked)}
                lines.append(found | measure(sides[0], sides[1], asked, draw))
                save(args.results, lines)
                print(json.dumps(lines[-1]), flush=True)


class Side:
    """One half of a set, as a feature file."""

    def __init__(self, path: Path, rows_ND: NDArray[np.floating], truth_N: NDArray[np.str_]) -> None:
        self.path, self.truth_N = path, truth_N
        np.save(path, np.asarray(rows_ND, np.float32))


def spend(way: str, shots: int, asked: list[int], pool: Side, draw: int) -> list[int]:
    """Return the labelled rows of a budget, which include those of smaller budgets."""
    classes = np.unique(pool.truth_N)
    order = np.random.default_rng(100 + draw).permutation(len(pool.truth_N))
    if way == "per class":
        return [int(row) for name in classes for row in order[pool.truth_N[order] == name][:shots]]
    if way == "random" or not asked:
        return [int(row) for row in order[: shots * len(classes)]]
    from dinocli.tasks.classify.classify import classify

    job = job_of(pool, asked, draw, suggest=shots * len(classes) - len(asked))
    return asked + [int(name[2:]) for name in classify(job).suggested]


def job_of(pool: Side, asked: list[int], draw: int, **more: Any) -> Any:
    """Write the labels and return the options of `classify`."""
    from dinocli.tasks.classify.classify_options import ClassifyOptions

    few = pool.path.with_name("few.csv")
    few.write_text("path,label\n" + "".join(f"./{row},{pool.truth_N[row]}\n" for row in asked))
    out = str(pool.path.with_name("predictions.csv"))
    return ClassifyOptions((str(pool.path),), (str(few),), out=out, seed=draw, force=True, **more)


def measure(pool: Side, test: Side, asked: list[int], draw: int) -> dict[str, Any]:
    """Train on the labels of the pool, and classify the other half."""
    from dinocli.tasks.classify.classify import classify
    from dinocli.tasks.classify.classify_options import UNSURE, ClassifyOptions

    saved = str(pool.path.with_name("clf.safetensors"))
    learnt = classify(job_of(pool, asked, draw, save=saved, precision=PRECISION))
    out = test.path.with_name("test.csv")
    classify(ClassifyOptions((str(test.path),), classifier=saved, out=str(out), force=True))
    with out.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    right_N = np.array([row["predicted"] for row in rows]) == test.truth_N
    sure_N = np.array([row["label"] for row in rows]) != UNSURE
    recalls = [right_N[test.truth_N == name].mean() for name in np.unique(test.truth_N)]
    confidence = np.mean([float(row["confidence"]) for row in rows])
    return {
        "method": learnt.method,
        "validated": round(learnt.accuracy or 0.0, 4),
        "accuracy": round(float(right_N.mean()), 4),
        "balanced": round(float(np.mean(recalls)), 4),
        "over_confident": round(float(confidence - right_N.mean()), 4),
        "accepted": round(float(sure_N.mean()), 4),
        "precision": round(float(right_N[sure_N].mean()), 4) if sure_N.any() else None,
    }


HEADER = ["set", "labels a class", "labels", "draws", "accuracy", "mean recall", "confidence error", "accepted", "held"]


def table(lines: list[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of the table: means over the draws."""
    grouped: dict[tuple[str, int, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        if not (line["way"] == "suggested" and line["shots"] == SHOTS[0]):  # the same as random
            grouped[line["set"], line["shots"], line["way"]].append(line)
    rows = []
    for (name, shots, way), found in sorted(grouped.items()):
        accuracy = [line["accuracy"] for line in found]
        mean = {
            key: float(np.mean([line[key] for line in found])) for key in ("balanced", "over_confident", "accepted")
        }
        shown = [line["precision"] for line in found if line["precision"] is not None]
        held = f"{sum(value >= PROMISED for value in shown)} of {len(shown)}" if shown else ""
        cells = [name, str(shots), way, str(len(found)), f"{np.mean(accuracy):.3f} ± {np.std(accuracy):.3f}"]
        cells += [f"{mean['balanced']:.3f}", f"{mean['over_confident']:+.3f}", f"{mean['accepted']:.2f}", held]
        rows.append(cells)
    return rows


if __name__ == "__main__":
    main()
