"""Compare the duration of a whole training process with that of LightlyTrain, with the same network and views.

    python -m venv peer && peer/bin/pip install lightly-train timm
    python benchmarks/whole_process.py IMAGES --peer-python peer/bin/python

Both train a ViT-Ti/16 from random weights with DINO: 2 x 224 + 6 x 96 pixels, 1,024 prototypes, float32, 32 images per
step, two epochs. Times include the start of Python. The processes run in turns. LightlyTrain is AGPL-3.0: it is run as
a separate program and not imported. Ours also measures the initial features, probes the training, decides and writes
the report; theirs writes checkpoints and logs.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

BATCH, EPOCHS = 32, 2
THEIRS = """
import sys
import lightly_train
lightly_train.pretrain(
    out=sys.argv[1], data=sys.argv[2], model="timm/vit_tiny_patch16_224", method="dino",
    method_args={"output_dim": 1024}, epochs=int(sys.argv[3]), batch_size=int(sys.argv[4]), num_workers=2,
    accelerator="cpu", devices=1, precision="32-true", overwrite=True,
    transform_args={"image_size": (224, 224), "local_view": {"num_views": 6, "view_size": (96, 96)}},
)
"""
OURS = (
    *("--weights", "none", "--model", "vit_tiny_patch16_224", "--recipe", "natural"),
    *("--batch-size", str(BATCH), "--device", "cpu", "--force", "--quiet"),
    *("--set", "views.global_size=224", "--set", "views.local_size=96", "--set", "views.local_count=6"),
    *("--set", "head.out_dim=1024", "--set", "run.precision=fp32"),
)


def run_timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its wall time and CPU time in seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run both in turns; print a JSON object of the times and the ratio of their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("--peer-python", required=True, help="Python executable of an environment with lightly-train")
    parser.add_argument("--rounds", type=int, default=1, help="runs per program (default: 1)")
    options = parser.parse_args()
    steps = EPOCHS * (sum(path.is_file() for path in options.images.rglob("*")) // BATCH)
    images = str(options.images.resolve())
    seconds: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory() as folder:
        ours = [
            sys.executable,
            "-m",
            "dinocli",
            "pretrain",
            images,
            *OURS,
            "--steps",
            str(steps),
            "--out",
            f"{folder}/ours",
        ]
        theirs = [options.peer_python, "-c", THEIRS, f"{folder}/theirs", images, str(EPOCHS), str(BATCH)]
        for _ in range(options.rounds):
            for name, command in (("ours", ours), ("theirs", theirs)):
                seconds[name].append([round(value, 1) for value in run_timed(command, dict(os.environ))])
    ratio = [
        median(run[kind] for run in seconds["theirs"]) / median(run[kind] for run in seconds["ours"]) for kind in (0, 1)
    ]
    print(
        json.dumps(
            {"steps": steps, "wall, CPU seconds": seconds, "theirs to ours": [round(value, 2) for value in ratio]}
        )
    )


if __name__ == "__main__":
    main()
