"""Compare `pooled+rare` with `pooled` as the default of `embed`: clusters, search, few labels, new images.

    dinocli embed IMAGES --tokens pooled --out DIR/pooled/NAME.npy        # and pooled+rare, for each set
    python benchmarks/rare_default.py files --work DIR --set NAME LABELS --set ...
    python benchmarks/rare_default.py new --maps MAPS --work DIR          # MAPS: of `rare_features.py cache`
    python benchmarks/rare_default.py small --maps MAPS --work DIR

`files` compares feature files: number of clusters by `-k auto`, NMI and purity of these clusters and of as many
clusters as classes, share of the ten nearest images with the same class, k-NN and few-shot accuracy, and false alarms
of drift between random halves. `new` fits to some images and classifies others; `small` fits to few images and searches
among them. One line per set in `DIR/VERB.jsonl`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rare_features import Set

from dinocli.artifacts.feature_file import open_features
from dinocli.data.labels import read_labels
from dinocli.engine.rare_features import RareFit
from dinocli.quality.agreement import nmi
from dinocli.quality.auto_k import choose_k
from dinocli.quality.cosine import unit_rows
from dinocli.quality.drift import LEVEL, drift
from dinocli.quality.few_shot_accuracy import few_shot
from dinocli.quality.grouping import group_by_centres
from dinocli.quality.kmeans import unit_kmeans
from dinocli.quality.knn import accuracy, knn_votes
from dinocli.quality.normalized_features import NormalizedFeatures

KINDS = ("pooled", "pooled+rare")
SHOTS, HALVES, NEAREST, TESTED, NEW_DRAWS = (5, 10, 20), 20, 10, 300, 3
NEW_SIZES, SMALL_SIZES = (64, 128, 300), (8, 16, 32, 64, 128, 256)
Rows = NDArray[np.float32]
Names = NDArray[np.str_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["files", "new", "small"])
    parser.add_argument("--work", type=Path, required=True, help="folder of feature files and results")
    parser.add_argument("--maps", type=Path, help="folder of cached maps")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "LABELS"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.verb == "files":
        for name, labels in args.set:
            keep(args, {"set": name} | {kind: of_file(args.work / kind / f"{name}.npy", labels) for kind in KINDS})
        return
    measured = of_new if args.verb == "new" else of_few
    for folder in sorted(path.parent for path in args.maps.glob("*/set.json")):
        for size in NEW_SIZES if args.verb == "new" else SMALL_SIZES:
            keep(args, {"set": folder.name, "images": size} | measured(Set(folder), size))


def keep(args: argparse.Namespace, row: dict[str, Any]) -> None:
    """Print a result, and append it to its file."""
    print(json.dumps(row), flush=True)
    with (args.work / f"{args.verb}.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def of_file(path: Path, labels: str) -> dict[str, Any]:
    """Measure one feature file; several label columns are joined to one class."""
    file = open_features(path)
    columns = read_labels(labels, file.names).values()
    truth_N = np.array(["/".join(values) for values in zip(*columns, strict=True)])
    features_ND = np.asarray(file.flat(), np.float32)
    rows = NormalizedFeatures(features_ND)
    choice = choose_k(rows)
    classes = len(np.unique(truth_N))
    alarms = [halves_differ(features_ND, draw) for draw in range(HALVES)]
    return {
        "k": choice.k,
        "clear": choice.clear,
        "classes": classes,
        "groups": groups(rows, truth_N, choice.k),
        "as many groups as classes": groups(rows, truth_N, classes),
        "precision at 10": precision(features_ND, truth_N),
        "knn": accuracy(truth_N, knn_votes(features_ND, truth_N).predicted_Q),
        "shots": [float(np.nanmean(few_shot(features_ND, truth_N, shots))) for shots in SHOTS],
        "drift false alarms": float(np.mean(alarms)),
    }


def groups(rows: NormalizedFeatures, truth_N: Names, k: int) -> dict[str, float]:
    """Return the agreement of k clusters with the classes."""
    label_N = group_by_centres(rows, unit_kmeans(rows, k).centres_KD).label_N
    most = [np.unique(truth_N[label_N == group], return_counts=True)[1].max() for group in np.unique(label_N)]
    return {"nmi": nmi(truth_N, label_N), "purity": float(sum(most) / len(truth_N))}


def precision(features_ND: Rows, truth_N: Names) -> float:
    units_ND = unit_rows(features_ND)
    cosine_NN = units_ND @ units_ND.T
    np.fill_diagonal(cosine_NN, -np.inf)
    near_NK = np.argpartition(-cosine_NN, NEAREST, axis=1)[:, :NEAREST]
    return float((truth_N[near_NK] == truth_N[:, None]).mean())


def halves_differ(features_ND: Rows, draw: int) -> bool:
    order = np.random.default_rng(draw).permutation(len(features_ND))
    half = len(order) // 2
    return drift(features_ND[order[:half]], features_ND[order[half:]], seed=draw).p < LEVEL


def fitted(found: Set, rows: NDArray[np.intp]) -> tuple[Any, Rows]:
    """Fit to some images of a set."""
    fit = RareFit("pooled+rare")
    for part, maps in found.blocks(rows):
        fit.add(found.pooled[part], maps, [found.names[row] for row in part])
    return fit.finish()


def of_new(found: Set, size: int) -> dict[str, Any]:
    """Classify images outside the fit by k-NN and 5- and 20-shot: `pooled`, then `pooled+rare`."""
    scores = []
    for draw in range(NEW_DRAWS):
        order = np.random.default_rng(draw).permutation(len(found.names))
        old, new = order[:size], order[size : size + TESTED]
        features, old_ND = fitted(found, old)
        parts = [
            features.of_maps(found.pooled[part], maps, features.numbers([found.names[row] for row in part]))
            for part, maps in found.blocks(new)
        ]
        learn_N = np.arange(len(old) + len(new)) < len(old)
        truth_N = found.labels[np.concatenate([old, new])]
        sides = [
            np.concatenate([found.pooled[old].numpy(), found.pooled[new].numpy()]),
            np.concatenate([old_ND, torch.cat(parts).numpy()]),
        ]
        scores.append([tested(side_ND, truth_N, learn_N) for side_ND in sides])
    means = np.mean(scores, axis=0)
    return named(("knn", "5-shot", "20-shot"), means.tolist())


def named(keys: tuple[str, ...], means: list[list[float]]) -> dict[str, Any]:
    return {kind: dict(zip(keys, row, strict=True)) for kind, row in zip(KINDS, means, strict=True)}


def tested(rows_ND: Rows, truth_N: Names, learn_N: NDArray[np.bool_]) -> list[float]:
    predicted = knn_votes(rows_ND, truth_N, k=NEAREST, learn_N=learn_N).predicted_Q
    shots = [float(np.nanmean(few_shot(rows_ND, truth_N, count, learn_N=learn_N))) for count in (5, 20)]
    return [accuracy(truth_N[~learn_N], predicted), *shots]


def of_few(found: Set, size: int) -> dict[str, Any]:
    """Search among a few images (nearest, five nearest, three queries of a class): `pooled`, then `pooled+rare`."""
    scores = []
    for draw in range(8 if size < NEW_SIZES[1] else 4):
        rows = np.random.default_rng(draw).permutation(len(found.names))[:size]
        truth_N = found.labels[rows]
        sides = (found.pooled[rows].numpy(), fitted(found, rows)[1])
        scores.append([[*(nearest(side, truth_N, k) for k in (1, 5)), shots(side, truth_N)] for side in sides])
    means = np.nanmean(scores, axis=0)
    return named(("1-nn", "5-nn", "3-shot"), means.tolist())


def nearest(rows_ND: Rows, truth_N: Names, k: int) -> float:
    return accuracy(truth_N, knn_votes(rows_ND, truth_N, k=k).predicted_Q)


def shots(rows_ND: Rows, truth_N: Names) -> float:
    share_N = few_shot(rows_ND, truth_N, 3)
    return float(np.nanmean(share_N)) if np.isfinite(share_N).any() else float("nan")


if __name__ == "__main__":
    main()
