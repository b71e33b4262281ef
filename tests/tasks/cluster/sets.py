"""A folder of images with two looks, and features that say so."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from dinocli.config.preprocess import Preprocess

HALF = (0.5, 0.5, 0.5)
PLAIN = Preprocess("full", 0, 255, False, True, (), 0, HALF, HALF, size=32)


def make_set(home: Path, per_look: int = 10, *, hostile: str = "") -> Path:
    """Write images of dark and bright noise in two folders, and a feature file; return its path.

    Image 0 and 1 of each folder are the same file, and the last bright one looks like nothing else.
    """
    rng = np.random.default_rng(0)
    names, rows = [], []
    for look, level in (("bright", 200), ("dark", 40)):
        folder = home / "images" / look
        folder.mkdir(parents=True)
        for number in range(per_look):
            name = hostile if hostile and look == "dark" and number == 2 else f"{number:02}.png"
            if number != 1:
                pixels = (level + rng.integers(-30, 30, (24, 32))).astype(np.uint8)
                row = np.concatenate([[5.0 * (look == "dark"), 5.0 * (look == "bright")], rng.normal(size=6)])
            Image.fromarray(pixels).save(folder / name)
            names.append(f"./{look}/{name}")
            rows.append(row)
    rows[per_look - 1] = np.array([-20, -20, 0, 0, 0, 0, 0, 0.0])
    return write_features(home / "feats.npy", np.array(rows, np.float32), names, home / "images")


def write_features(path: Path, rows: object, names: list[str], root: Path) -> Path:
    matrix = np.asarray(rows)
    np.save(path, matrix)
    path.with_name(f"{path.stem}.paths.txt").write_text("".join(f"{name}\n" for name in names))
    weights = {"name": "test", "source": "none", "sha256": "0" * 64}
    about: dict[str, object] = {
        "kind": "features",
        "root": str(root),
        "preprocess": PLAIN.to_dict(),
        "weights": weights,
    }
    about |= {"n": len(matrix), "shape": list(matrix.shape)}
    path.with_name(f"{path.stem}.json").write_text(json.dumps(about))
    return path
