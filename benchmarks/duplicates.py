"""Count the planted copies and odd images that `dinocli cluster` finds among photographs.

python benchmarks/duplicates.py --photos DIR --foreign XRAY --foreign STEEL --weights FILE --model NAME \
    --work runs/planted --seeds 0 1 2

Each seed plants 24 near-copies of six kinds, five exact copies and seven odd images among 260 photographs
(`planted.py`), embeds the folder, runs `cluster` with its defaults and compares. Existing files are reused, so an
interrupted run can be continued.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

from planted import NEAR, plant

from dinocli.progress import ProgressReporter
from dinocli.tasks.cluster.cluster import cluster
from dinocli.tasks.cluster.cluster_options import DUPLICATES, ISSUES, ClusterOptions
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.embed_options import EmbedOptions

FIRST = 15


class Lines(ProgressReporter):
    """Prints the lines and warnings of `cluster`."""

    def line(self, text: str) -> None:
        print(f"  {text}", flush=True)

    warn = line


def read(path: Path) -> list[dict[str, str]]:
    """Read a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measure(folder: Path, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Plant, embed and cluster one folder, and count the found images."""
    if not (folder / "planted.csv").is_file():
        plant(options.photos, folder / "images", options.foreign, seed)
    features = folder / "feats.npy"
    if not features.is_file():
        made_by = {"weights": options.weights, "model": options.model}
        embed(EmbedOptions((str(folder / "images"),), str(features), **made_by, note=False))
    began = time.monotonic()
    table = folder / "clusters.csv"
    outcome = cluster(ClusterOptions((str(features),), str(table), report="none", force=True), Lines())
    planted = read(folder / "planted.csv")
    wanted = {frozenset((f"./{row['name']}", f"./{row['of']}")): row["kind"] for row in planted if row["of"]}
    pairs = {frozenset((row["path"], row["other"])): row for row in read(table.with_name(DUPLICATES))}
    near = {pair: kind for pair, kind in wanted.items() if kind in NEAR and pair in pairs}
    ranked = [row["path"] for row in sorted(read(table), key=lambda row: -float(row["outlier"]))]
    odd = {f"./{row['name']}" for row in planted if row["kind"] == "odd"}
    return {
        "seed": seed,
        "near_found": len(near),
        "near_planted": sum(kind in NEAR for kind in wanted.values()),
        "found_by_kind": {kind: sum(found == kind for found in near.values()) for kind in NEAR},
        "exact_found": sum(wanted.get(pair) == "exact" for pair, row in pairs.items() if row["exact"] == "1"),
        "false_pairs": sorted(" ".join(sorted(pair)) for pair in pairs if pair not in wanted),
        "reason": outcome.duplicate_reason,
        "odd_ranks": sorted(ranked.index(name) + 1 for name in odd),
        "odd_in_first_15": sum(name in odd for name in ranked[:FIRST]),
        "issues": outcome.issues,
        "issues_of_odd": sorted(
            f"{row['path']} {row['issue']}" for row in read(table.with_name(ISSUES)) if row["path"] in odd
        ),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    """Parse, measure each seed, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with at least 260 photographs")
    parser.add_argument(
        "--foreign", type=Path, action="append", default=[], help="folder of another domain; repeatable"
    )
    parser.add_argument("--weights", required=True, help="as for `dinocli embed`")
    parser.add_argument("--model", default="", help="as for `dinocli embed`")
    parser.add_argument("--work", type=Path, required=True, help="folder for images and features")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one planted folder each")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/duplicates.json"))
    options = parser.parse_args()
    results = []
    for seed in options.seeds:
        results.append(measure(options.work / f"seed{seed}", options, seed))
        print(json.dumps(results[-1], indent=1), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "title": "planted copies and odd images found by `dinocli cluster`",
        "date": time.strftime("%Y-%m-%d"),
        "command": "python benchmarks/duplicates.py",
        "weights": Path(options.weights).name,
    }
    options.out.write_text(json.dumps({**about, "runs": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
