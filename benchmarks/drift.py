"""How often `dinocli cluster --drift` finds a difference: between random halves of a folder, and in changed light.

python benchmarks/drift.py --set photographs=DIR --set steel=DIR --weights FILE --model NAME --work runs/drift

Of each folder, `--images` are drawn and written as PNG, as they are and with their brightness changed. All are embedded
once (the default feature; changed ones with `--like`). Each trial draws two halves: the first is compared with the
second, and with the changed images of the second. Existing features are reused, so an interrupted run can be continued.
"""

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from planted import ENDINGS

from dinocli.artifacts.feature_file import FeatureFile, open_features
from dinocli.progress import ProgressReporter
from dinocli.quality.drift import LEVEL, drift
from dinocli.quality.image_statistics import APPEARANCE
from dinocli.tasks.cluster.cluster_inputs import members_of
from dinocli.tasks.cluster.drifted_batch import DriftedBatch
from dinocli.tasks.cluster.image_checks import picture_statistics
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.embed_options import EmbedOptions

CHANGES = {"0.8": 0.8, "0.9": 0.9, "0.95": 0.95, "1.2": 1.2}
"""Name -> factor on the brightness."""


class Batch(NamedTuple):
    """Features and pixel statistics of one folder.

    Args:
        members: The images.
        statistics_NT: Statistics of each image.
    """

    members: FeatureFile
    statistics_NT: NDArray[np.float64]


def write_images(source: Path, target: Path, count: int) -> None:
    """Draw images of a folder, and write them as they are and with changed brightness."""
    listed = sorted(path for path in source.rglob("*") if path.suffix.lower() in ENDINGS)
    chosen = np.random.default_rng(0).permutation(len(listed))[:count]
    for number, place in enumerate(chosen.tolist()):
        opened = Image.open(listed[place])
        image = opened if opened.mode == "L" else opened.convert("RGB")
        for name, factor in {"plain": 1.0, **CHANGES}.items():
            changed = image if factor == 1 else ImageEnhance.Brightness(image).enhance(factor)
            (target / name).mkdir(parents=True, exist_ok=True)
            changed.save(target / name / f"{number:04}.png", compress_level=1)


def batches(folder: Path, options: argparse.Namespace) -> dict[str, Batch]:
    """Embed and measure the folders."""
    found = {}
    for name in ("plain", *CHANGES):
        features = folder / f"{name}.npy"
        if not features.is_file():
            made_by = {"weights": options.weights, "model": options.model}
            if name != "plain":
                made_by = {"like": str(folder / "plain.npy")}
            embed(EmbedOptions((str(folder / name),), str(features), **made_by, note=False))
        members = members_of(open_features(features), ProgressReporter())
        measured = picture_statistics(members, ProgressReporter())
        table = np.array([[getattr(image, column) for column in APPEARANCE] for image in measured])
        assert len(table) == len(members), "an image cannot be read"
        found[name] = Batch(members, table)
    return found


def p_value(old: Batch, new: Batch, rows: tuple[NDArray[np.intp], NDArray[np.intp]], seed: int) -> float:
    """Compare rows of one batch with rows of another, as `cluster --drift` does."""
    features = drift(old.members.pooled_ND[rows[0]], new.members.pooled_ND[rows[1]], seed=seed)
    tables = (old.statistics_NT[rows[0]], new.statistics_NT[rows[1]])
    return DriftedBatch(new.members, features, drift(*tables, directions_only=False, seed=seed)).p


def measure(found: dict[str, Batch], halves: int, trials: int) -> dict[str, list[int]]:
    """Count the trials in which a difference is found: name -> [found, trials]."""
    plain, counts = found["plain"], {name: [0, 0] for name in found}
    for trial in range(halves):
        order = np.random.default_rng(trial).permutation(len(plain.members))
        rows = order[: len(order) // 2], order[len(order) // 2 :]
        for name, batch in found.items():
            if name == "plain" or trial < trials:
                counts[name][0] += p_value(plain, batch, rows, trial) < LEVEL
                counts[name][1] += 1
    return counts


def section_of(sets: dict[str, dict[str, object]]) -> dict[str, object]:
    """Return the section of docs/results.md."""
    header = ["images, per half", "random halves", *(f"brightness x {name}" for name in CHANGES)]
    rows = []
    for name, row in sets.items():
        counts: dict[str, list[int]] = row["found"]  # type: ignore[assignment]
        cells = [f"{done} of {tried}" for done, tried in counts.values()]
        rows.append([f"{name} ({row['images'] // 2})", *cells])  # type: ignore[operator]
    about = (
        "How often `cluster --drift` finds a difference (p < 0.05) between two random halves of a folder: as they are, "
        "where every find is a false alarm, and with the brightness of the second one changed."
    )
    return {
        "title": "Drift",
        "part": "Copies and odd images",
        "order": 20,
        "blocks": [about, {"header": header, "rows": rows}],
    }


def main() -> None:
    """Parse, measure each set, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", required=True, metavar="NAME=DIR", help="folder; repeatable")
    parser.add_argument("--weights", required=True, help="as for `dinocli embed`")
    parser.add_argument("--model", default="", help="as for `dinocli embed`")
    parser.add_argument("--work", type=Path, required=True, help="folder for images and features")
    parser.add_argument("--images", type=int, default=400, help="images of each folder")
    parser.add_argument("--halves", type=int, default=100, help="trials without a change")
    parser.add_argument("--trials", type=int, default=20, help="trials of each change")
    parser.add_argument("--hardware", default="two shared CPU cores")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/drift.json"))
    options = parser.parse_args()
    sets: dict[str, dict[str, object]] = {}
    for name, source in (text.split("=", 1) for text in options.set):
        folder = options.work / name.replace(" ", "_")
        if not (folder / "plain").is_dir():
            write_images(Path(source), folder, options.images)
        found, began = batches(folder, options), time.monotonic()
        counts = measure(found, options.halves, options.trials)
        sets[name] = {"images": len(found["plain"].members), "found": counts}
        print(name, json.dumps(sets[name]), f"{time.monotonic() - began:.0f} s", flush=True)
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": options.hardware,
        "command": "python benchmarks/drift.py",
        "log": "Drift of random halves and of changed light",
        "weights": Path(options.weights).name,
    }
    options.out.write_text(json.dumps({**about, "sets": sets, "section": section_of(sets)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
