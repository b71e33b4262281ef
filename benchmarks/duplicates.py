"""Count the planted copies and odd images that `dinocli cluster` finds among photographs.

python benchmarks/duplicates.py --set photographs=DIR --set pets=DIR --foreign XRAY --foreign STEEL --weights FILE \
    --model NAME --work runs/planted --seeds 0 1 2

Each seed plants 24 near-copies of six kinds, five exact copies and seven odd images among 260 images of a set
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


def measure(folder: Path, photos: Path, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Plant, embed and cluster one folder, and count the found images."""
    if not (folder / "planted.csv").is_file():
        plant(photos, folder / "images", options.foreign, seed)
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


def section_of(sets: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the section of docs/results.md: found copies by kind, and odd images, of each set and seed."""
    header = ["set, seed", *NEAR, "near of 24", "exact of 5", "other pairs", f"odd of 7 in the first {FIRST}"]
    rows = []
    for name, runs in sets.items():
        for run in runs:
            kinds = [str(run["found_by_kind"][kind]) for kind in NEAR]
            totals = (run["near_found"], run["exact_found"], len(run["false_pairs"]), run["odd_in_first_15"])
            rows.append([f"{name}, {run['seed']}", *kinds, *map(str, totals)])
    about = (
        "260 images of a set with 24 near-copies (4 of each kind: cropped, JPEG of quality 30, brighter by 30 %, half "
        "size and back, turned by 3 degrees, a strip covered), five exact copies and seven odd images (black, noise, "
        "five of other domains), planted anew for each seed; `cluster` with its defaults. *Other pairs*: not planted."
    )
    blocks = [about, {"header": header, "rows": rows}]
    return {
        "title": "Planted copies by kind, and odd images",
        "part": "Copies and odd images",
        "order": 5,
        "blocks": blocks,
    }


def main() -> None:
    """Parse, measure each seed, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", required=True, metavar="NAME=DIR", help="260 images; repeatable")
    parser.add_argument(
        "--foreign", type=Path, action="append", default=[], help="folder of another domain; repeatable"
    )
    parser.add_argument("--weights", required=True, help="as for `dinocli embed`")
    parser.add_argument("--model", default="", help="as for `dinocli embed`")
    parser.add_argument("--work", type=Path, required=True, help="folder for images and features")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one planted folder each")
    parser.add_argument("--hardware", default="two shared CPU cores")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/duplicates.json"))
    options = parser.parse_args()
    sets: dict[str, list[dict[str, Any]]] = {}
    for name, photos in (text.split("=", 1) for text in options.set):
        for seed in options.seeds:
            found = measure(options.work / name / f"seed{seed}", Path(photos), options, seed)
            sets.setdefault(name, []).append(found)
            print(name, json.dumps(found, indent=1), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": options.hardware,
        "command": "python benchmarks/duplicates.py",
        "log": "Copies with a covered part: codes of blocks, and the median of their correlations",
        "weights": Path(options.weights).name,
    }
    options.out.write_text(json.dumps({**about, "sets": sets, "section": section_of(sets)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
