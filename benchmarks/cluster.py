"""Quality and speed of `dinocli cluster`, compared with scikit-learn.

python benchmarks/cluster.py seeds feats.npy --labels folder -k 6        # agreement with the labels, ten seeds each
python benchmarks/cluster.py growth --rows 10000 100000 1000000          # time and memory of the command, known
clusters
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from dinocli.artifacts.feature_file import open_features
from dinocli.data.labels import read_labels
from dinocli.quality.agreement import ari, hungarian_accuracy, nmi
from dinocli.quality.grouping import group_by_centres
from dinocli.quality.kmeans import unit_kmeans
from dinocli.quality.normalized_features import NormalizedFeatures, block_threads, single_threaded

SAMPLE = 50_000
BLOCK = 50_000


def seeds(path: Path, labels: str, k: int, count: int) -> None:
    """Print mean and range over seeds of the agreement with the labels, for ours and scikit-learn's k-means."""
    features = open_features(path)
    rows_ND = np.asarray(features.flat())
    units_ND = NormalizedFeatures(rows_ND).take(slice(None))
    truth_N = np.array(next(iter(read_labels(labels, features.names).values())))
    ways: dict[str, Callable[[int], NDArray[np.intp]]] = {
        "ours": lambda seed: _ours(NormalizedFeatures(rows_ND, threads=block_threads()), k, seed),
        "KMeans, unit rows": lambda seed: KMeans(k, n_init=10, random_state=seed).fit_predict(units_ND),
        "KMeans, raw rows": lambda seed: KMeans(k, n_init=10, random_state=seed).fit_predict(rows_ND),
    }
    print(f"{'':20}{'NMI':>8}{'range':>18}{'ARI':>8}{'accuracy':>10}{'range':>18}{'seconds':>9}")
    for name, way in ways.items():
        found, began = [], time.perf_counter()
        for seed in range(count):
            label_N = way(seed)
            found.append((nmi(truth_N, label_N), ari(truth_N, label_N), hungarian_accuracy(truth_N, label_N)))
        seconds = (time.perf_counter() - began) / count
        scores = np.array(found)
        mean, low, high = scores.mean(axis=0), scores.min(axis=0), scores.max(axis=0)
        ranges = [f"{low[at]:.4f} to {high[at]:.4f}" for at in (0, 2)]
        print(
            f"{name:20}{mean[0]:8.4f}{ranges[0]:>18}{mean[1]:8.4f}{mean[2]:10.4f}{ranges[1]:>18}{seconds:9.2f}",
            flush=True,
        )


def growth(counts: list[int], k: int, width: int, noise: float, starts: int) -> None:
    """Print time, peak memory and agreement of the command, and of scikit-learn's k-means on a sample."""
    columns = ("rows", "seconds", "peak GB", "ARI", "of sample", "KMeans there", "its seconds")
    print("".join(f"{column:>14}" for column in columns))
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "feats.npy")
            truth_N = mixture(path, count, k, width, noise)
            label_N, seconds, peak = command(path, k)
            rng = np.random.default_rng(1)
            chosen = np.sort(rng.choice(count, min(SAMPLE, count), replace=False))
            units_ND = NormalizedFeatures(np.load(path, mmap_mode="r")).take(chosen)
            began = time.perf_counter()
            theirs = KMeans(k, n_init=starts, random_state=0).fit_predict(units_ND)
            theirs_seconds = time.perf_counter() - began
        ours = ari(truth_N[chosen], label_N[chosen])
        print(
            f"{count:14,}{seconds:14.1f}{peak:14.2f}{ari(truth_N, label_N):14.4f}{ours:14.4f}"
            f"{ari(truth_N[chosen], theirs):14.4f}{theirs_seconds:14.1f}",
            flush=True,
        )


def mixture(path: Path, count: int, k: int, width: int, noise: float) -> NDArray[np.intp]:
    """Write a mixture of k Gaussians, and return the component of each row."""
    rng = np.random.default_rng(0)
    centres_KD = rng.normal(size=(k, width)).astype(np.float32)
    truth_N = rng.integers(k, size=count)
    rows_ND = open_memmap(path, "w+", np.float32, (count, width))
    for first in range(0, count, BLOCK):
        part = truth_N[first : first + BLOCK]
        rows_ND[first : first + BLOCK] = centres_KD[part] + noise * rng.standard_normal((len(part), width), np.float32)
    rows_ND.flush()
    return truth_N


def command(path: Path, k: int) -> tuple[NDArray[np.intp], float, float]:
    """Run `dinocli cluster` and return labels, seconds and peak resident memory in GB."""
    out = path.with_name("clusters.csv")
    words = [sys.executable, "-m", "dinocli", "cluster", str(path), "-k", str(k), "--out", str(out), "--json"]
    began = time.perf_counter()
    process = subprocess.Popen([*words, "-q", "--report", "none"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    outcome = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = status
    assert status == 0
    assert outcome["out"] == str(out)
    with out.open(newline="") as file:
        label_N = np.array([int(row["cluster"]) for row in csv.DictReader(file)])
    return label_N, seconds, usage.ru_maxrss / 1e6


def _ours(rows: NormalizedFeatures, k: int, seed: int) -> NDArray[np.intp]:
    with single_threaded():
        return group_by_centres(rows, unit_kmeans(rows, k, seed=seed).centres_KD).label_N


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    one = ways.add_parser("seeds", help="ours against scikit-learn on a feature file with labels")
    one.add_argument("features", type=Path)
    one.add_argument(
        "--labels", default="folder", help="`folder` or a CSV, of which the first column is used (default: folder)"
    )
    one.add_argument("-k", type=int, required=True, help="groups")
    one.add_argument("--seeds", type=int, default=10, help="(default: 10)")
    two = ways.add_parser("growth", help="time, memory and agreement with the number of rows")
    two.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    two.add_argument("-k", type=int, default=100, help="groups (default: 100)")
    two.add_argument("--width", type=int, default=384, help="values of a row (default: 384)")
    two.add_argument(
        "--noise", type=float, default=1.5, help="standard deviation relative to that of the centres (default: 1.5)"
    )
    two.add_argument("--starts", type=int, default=3, help="starts of scikit-learn's k-means (default: 3)")
    asked = parser.parse_args()
    if asked.way == "seeds":
        seeds(asked.features, asked.labels, asked.k, asked.seeds)
    else:
        growth(asked.rows, asked.k, asked.width, asked.noise, asked.starts)


if __name__ == "__main__":
    main()
