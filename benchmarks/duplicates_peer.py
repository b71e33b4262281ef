"""fastdup on the folders that `duplicates.py` planted: copies found, false pairs, odd images.

    export SENTRY_OPT_OUT=1
    peer/bin/python benchmarks/duplicates_peer.py --work runs/planted/photographs --scratch D --seeds 0 2 3

Runs in an environment with fastdup (`pip install fastdup`), without torch, and imports nothing of dinocli; the table of
docs/results.md also has the figures of `duplicates.json`. Pairs are counted from a cosine of 0.9, fastdup's default for
similar images, and from 0.96, its default for groups; *best* is the largest number of copies found at any cosine
without a false pair.
"""

import argparse
import csv
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

LISTED, SIMILAR, GROUPED = 0.5, 0.9, 0.96
FIRST = 15
OURS = Path("benchmarks/results/duplicates.json")


def read(path: Path) -> list[dict[str, str]]:
    """Read a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measure(folder: Path, work: Path, seed: int) -> dict[str, Any]:
    """Run fastdup on a folder with its defaults, and count the found images."""
    import fastdup

    planted = read(folder / "planted.csv")
    wanted = {frozenset((row["name"], row["of"])): row["kind"] for row in planted if row["of"]}
    odd = {row["name"] for row in planted if row["kind"] == "odd"}
    began = time.monotonic()
    found = fastdup.create(work_dir=str(work), input_dir=str(folder / "images"))
    found.run(overwrite=True, print_summary=False, threshold=LISTED)
    seconds = time.monotonic() - began
    pairs: dict[frozenset[str], float] = {}
    for row in found.similarity().itertuples():
        pair = frozenset(Path(name).name for name in (row.filename_from, row.filename_to))
        pairs[pair] = max(pairs.get(pair, 0.0), row.distance)
    false = max((cosine for pair, cosine in pairs.items() if pair not in wanted), default=0.0)
    outliers = found.outliers().sort_values("distance")
    ranked = list(dict.fromkeys(Path(name).name for name in outliers["filename_outlier"]))
    return {
        "seed": seed,
        **{f"at {least}": counts(pairs, wanted, least) for least in (SIMILAR, GROUPED)},
        "best": counts(pairs, wanted, false + 1e-6),
        "highest_false_cosine": round(false, 3),
        "odd_ranks": sorted(ranked.index(name) + 1 for name in odd if name in ranked),
        "odd_in_first_15": sum(name in odd for name in ranked[:FIRST]),
        "outliers": len(ranked),
        "seconds": round(seconds, 1),
    }


def counts(pairs: dict[frozenset[str], float], wanted: dict[frozenset[str], str], least: float) -> dict[str, int]:
    """Count near and exact copies and false pairs with a cosine of at least `least`."""
    there = [wanted.get(pair, "false") for pair, cosine in pairs.items() if cosine >= least]
    exact, false = there.count("exact"), there.count("false")
    return {"near": len(there) - exact - false, "exact": exact, "false": false}


def section(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], peer: str) -> dict[str, Any]:
    """Return the section of docs/results.md."""
    about = (
        "260 photographs with 24 near-copies, five exact copies and seven odd images, planted anew for each seed. "
        f"`dinocli cluster` (its statistics were chosen on seed 0) and fastdup {peer}, defaults of both. fastdup lists "
        f"pairs from a cosine of {SIMILAR} and makes groups from {GROUPED}; dinocli measures the threshold on the "
        "folder. *Odd*: how many of the seven are among the 15 images that the tool calls the oddest."
    )
    header = ["seed", "tool", "near-copies of 24", "exact of 5", "wrong pairs", "odd of 7"]
    rows = []
    for one, other in zip(ours, theirs, strict=True):
        near, exact, wrong = one["near_found"], one["exact_found"], len(one["false_pairs"])
        rows.append([f"{one['seed']}", "dinocli", f"{near}", f"{exact}", f"{wrong}", f"{one['odd_in_first_15']}"])
        for least in (SIMILAR, GROUPED):
            found = other[f"at {least}"]
            counted = [f"{found[kind]}" for kind in ("near", "exact", "false")]
            odd = f"{other['odd_in_first_15']}" if least == SIMILAR else ""
            rows.append(["", f"fastdup, from {least}", *counted, odd])
    blocks = [about, {"header": header, "rows": rows}]
    title, part = "Copies and odd images, beside fastdup", "Copies and odd images"
    return {"title": title, "part": part, "order": 10, "blocks": blocks}


def main() -> None:
    """Parse, measure each seed, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of one set of `duplicates.py`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one planted folder each")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for what fastdup writes")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/duplicates_fastdup.json"))
    options = parser.parse_args()
    runs = [measure(options.work / f"seed{seed}", options.scratch / f"seed{seed}", seed) for seed in options.seeds]
    ours = json.loads(OURS.read_text("utf-8"))["sets"][options.work.name]
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": "two shared CPU cores",
        "command": "python benchmarks/duplicates_peer.py --work runs/planted/photographs --scratch D --seeds 0 2 3",
        "log": "fastdup on the planted copies and odd images",
        "section": section(ours, runs, version("fastdup")),
        "runs": runs,
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
