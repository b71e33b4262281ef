"""Run the demo: adapt ImageNet weights to solar cells, then group, search and find defects; three minutes on two cores.

    python demo/demo.py

Each stage is a command of `dinocli` that is printed before it runs; a stage whose result exists is skipped. All run in
one process, so that torch is loaded once. The end names four things to look at and says in two sentences what they
show. Inputs are in `demo-data`, results in `demo-results`; delete them to start again.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from dinocli.cli.app import app
from dinocli.cores import limit_threads

DATA, RESULTS = Path("demo-data"), Path("demo-results")
IMAGES, NEW = DATA / "images", DATA / "new"
WEIGHTS = DATA / "tf_efficientnet_lite0"
RUN, FEATURES, GROUPS = RESULTS / "run", RESULTS / "feats.npy", RESULTS / "clusters.csv"
MAP, SHEET, DEFECTS = RESULTS / "map.html", RESULTS / "search.png", RESULTS / "defects"

RECIPE = Path("demo") / "demo.toml"
QUERIES, NEIGHBOURS = 4, 8


@dataclass(frozen=True)
class Stage:
    """A command and what it leaves.

    Args:
        name: For the table of times.
        command: Words of the command line.
        result: What it leaves; a stage whose result exists is skipped.
        done: Says whether the result is whole, where a file that exists is not enough.
    """

    name: str
    command: list[str]
    result: Path
    done: Callable[[], bool] | None = None

    @property
    def is_done(self) -> bool:
        return self.done() if self.done else self.result.exists()


def stages() -> list[Stage]:
    """List the commands, in order."""
    run, data = f"{RUN}", f"{IMAGES}"
    new = sorted(NEW.glob("defect/*.png"))[:QUERIES]
    train = ["finetune-ssl", data, "--weights", f"{WEIGHTS}", "--labels", "folder"]
    train += ["--recipe", f"{RECIPE}", "--out", run]
    segment = ["segment", f"{NEW}", "--weights", run, "--method", "anomaly", "--reference", f"{IMAGES / 'good'}"]
    segment += ["--sample", "64", "--size", "320", "--overlay", "--out", f"{DEFECTS}"]
    return [
        Stage("adapt", [*train, "--resume" if (RUN / "run.json").is_file() else "--force"], RUN, run_has_ended),
        Stage("embed", ["embed", data, "--weights", run, "--out", f"{FEATURES}"], FEATURES),
        Stage(
            "group", ["cluster", f"{FEATURES}", "--labels", "folder", "--out", f"{GROUPS}", "--report", f"{MAP}"], MAP
        ),
        Stage(
            "search",
            ["search", *map(str, new), "--in", f"{FEATURES}", "-n", f"{NEIGHBOURS}", "--sheet", f"{SHEET}"],
            SHEET,
        ),
        Stage("find defects", segment, DEFECTS),
    ]


def run_has_ended() -> bool:
    """Say whether the run of the demo has ended."""
    manifest = RUN / "run.json"
    return manifest.is_file() and read(manifest).get("status") == "finished"


def read(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def run(stage: Stage) -> float:
    """Run a stage, and return its seconds; 0 where its result exists."""
    if stage.is_done:
        sys.stdout.write(f"\n{stage.name}: {stage.result} exists\n")
        return 0.0
    sys.stdout.write(f"\n$ dinocli {shlex.join(stage.command)}\n")
    sys.stdout.flush()
    began = time.monotonic()
    sys.argv = ["dinocli", *stage.command]
    # Stdout carries the results, which are files here; what is worth seeing is on stderr.
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
        code = typer.main.get_command(app).main(stage.command, prog_name="dinocli", standalone_mode=False)
    if code:
        sys.exit(code)
    return time.monotonic() - began


def adaptation_sentence(outcome: dict[str, Any]) -> str:
    """Say what the statistics did, what training did, and what the labels say, by the run's own numbers."""
    scores = {line["key"]: line for line in outcome["scores"] + outcome["labelled"]}
    found, knn = scores["retrieval_top1"], scores["knn20_accuracy/folder"]
    parts = [f"{found['start']:.0%} of crops find their image with the ImageNet weights"]
    if found["statistics"] is not None:
        parts.append(f"{found['statistics']:.0%} with batch-norm statistics of these images")
    parts.append(f"{found['adapted']:.0%} after training")
    return (
        f"The report: {', '.join(parts)}; k-NN accuracy by labels that the run never used: "
        f"{knn['start']:.3f} -> {knn['adapted']:.3f}; kept: {outcome['verdict']['keep']} weights."
    )


def defects_sentence(rows: Sequence[dict[str, str]]) -> str:
    """Say how many new cells of each kind have an anomaly mask; nobody told the method which is which."""
    marked = {row["image"] for row in rows if row["segment"] != "0"}  # a row of segment 0 is an empty image
    counts = []
    for kind in ("defect", "good"):
        names = [f"./{path.relative_to(NEW)}" for path in sorted(NEW.glob(f"{kind}/*.png"))]
        counts.append(f"{sum(name in marked for name in names)} of {len(names)} new {kind} cells")
    return f"The masks: compared with good cells alone, an anomaly is marked in {counts[0]} and in {counts[1]}."


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    began = time.monotonic()
    limit_threads(os.environ)
    RESULTS.mkdir(exist_ok=True)
    seconds = {stage.name: run(stage) for stage in stages()}
    with (DEFECTS / "segments.csv").open(encoding="utf-8", newline="") as file:
        regions = list(csv.DictReader(file))
    times = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    sys.stdout.write(
        f"\n{time.monotonic() - began:.0f} s in all: {times}\n\nLook at:\n"
        f"  {RUN / 'report.html'}      start against adapted weights\n"
        f"  {MAP}             map of all cells, groups, duplicates, odd ones\n"
        f"  {SHEET}           new cells with a defect, and the most similar ones\n"
        f"  {DEFECTS / 'report.html'}  anomaly masks; pictures with masks: {DEFECTS / 'overlays'}\n\n"
        f"{adaptation_sentence(read(RUN / 'run.json')['outcome'])}\n{defects_sentence(regions)}\n"
    )


if __name__ == "__main__":
    main()
