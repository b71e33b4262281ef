"""Feature files: what `embed` writes and every later command reads.

`feats.npy` holds the numbers; beside it, by stem, `feats.paths.txt` names the image of every row, `feats.json` says how
the numbers were made, `feats.tiles.csv` which part of the image a row is, where images were cut into tiles, and
`feats.rare.safetensors` holds what was fitted to the images, where the features needed it.

Shapes: N rows, D width, h w rows and columns of a patch grid.
"""

import csv
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from dinocli.config.preprocess import Preprocess
from dinocli.errors import WeightsError
from dinocli.tasks.artifacts import read_whole
from dinocli.tasks.run_folder import latest_run

FEATURE_SUFFIXES = (".npy", ".npz", ".csv", ".parquet", ".safetensors")
KEY = "features"
"""Name of the array in formats that name their arrays, and of the vector's column in Parquet."""

FITTED_SUFFIX = ".rare.safetensors"
"""Of the file beside a feature file with what its features were fitted to (`dinocli.engine.rare_features`)."""

Box = tuple[int, int, int, int]
"""Left, top, width, height of a tile, pixels of the upright image."""


@dataclass(frozen=True)
class FeatureFile:
    """Features of images, with the names of the images.

    Args:
        path: Of the file with the numbers.
        rows: (N, D), or (N, h, w, D) for patch tokens; read-only, `.npy` files stay on the disk until they are used.
        names: Image of each row, as `./a/b.png`; a tiled image is named once a tile.
        meta: What `feats.json` says; empty where there is none.
        boxes: Tile of each row, or None where a row is a whole image.
    """

    path: Path
    rows: NDArray[np.floating]
    names: list[str]
    meta: dict[str, Any]
    boxes: list[Box] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def flat(self) -> NDArray[np.floating]:
        """Return the rows as (N, D).

        Raises:
            WeightsError: The file holds patch tokens.
        """
        if self.rows.ndim != 2:
            raise WeightsError(f"{self.path} holds patch tokens, {self.rows.shape}; embed again with --tokens pooled")
        return self.rows

    def to_whiten(self, asked: bool, tell: Callable[[str], None]) -> bool:
        """Say whether the rows are to be whitened, which they may be already; `tell` is told."""
        if asked and self.meta.get("whitened"):
            tell(f"{self.path} is whitened already (--tokens {self.meta.get('tokens')}), so --whiten changes nothing")
            return False
        return asked

    def preprocess(self) -> Preprocess | None:
        """Return how the images were read, or None where nobody wrote it down."""
        stored = self.meta.get("preprocess")
        return Preprocess.from_dict(stored) if stored else None

    def image(self, row: int) -> Path | None:
        """Return the image of a row, or None where the folder of the images is not known."""
        root = self.meta.get("root")
        return Path(root, self.names[row]) if root else None


def sidecar(path: Path, suffix: str) -> Path:
    """Return the name of a file beside a feature file: `feats.npy`, `.paths.txt` -> `feats.paths.txt`."""
    return path.with_name(path.stem + suffix)


def newest_features() -> Path:
    """Return the feature file that was made last with the weights of the newest run.

    Raises:
        WeightsError: There is no run, or no feature file of it is left.
    """
    run = latest_run("name a feature file, or run `dinocli pretrain` and `dinocli embed` first")
    made = [Path(output["path"]) for output in run.read().get("outputs", []) if output["kind"] == KEY]
    there = [path for path in made if path.is_file()]
    if not there:
        raise WeightsError(f"no feature file was made with {run.path} yet: run `dinocli embed`, or name a file")
    return there[-1]


def open_features(path: Path) -> FeatureFile:
    """Open a feature file of any of our formats, or anybody's `.npy` matrix.

    Args:
        path: Its suffix tells the format.

    Raises:
        WeightsError: It is not there, broken, or its parts do not belong together.
    """
    return read_whole(path, _open)


def _open(path: Path) -> FeatureFile:
    if not path.is_file():
        raise WeightsError(f"no such feature file: {path}; `dinocli embed IMAGES --out {path.name}` makes one")
    try:
        rows, names = _read(path)
    except (OSError, ValueError, KeyError, EOFError, SafetensorError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} cannot be read as features ({reason}); embed again") from error
    if rows.ndim not in (2, 4) or not np.issubdtype(rows.dtype, np.floating):
        raise WeightsError(f"{path} holds {rows.dtype} of shape {rows.shape}; features are floats, one row an image")
    names = names or _names(path, len(rows))
    if len(names) != len(rows):
        raise WeightsError(f"{path} has {len(rows)} rows but {len(names)} names; they do not belong together")
    return FeatureFile(path, rows, names, _meta(path), _boxes(path, len(rows)))


def _read(path: Path) -> tuple[NDArray[Any], list[str]]:
    """Return the numbers, and the names where the file itself holds them."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[KEY], [str(name) for name in arrays["paths"]] if "paths" in arrays else []
    if path.suffix == ".safetensors":
        return load_file(path)[KEY], []
    if path.suffix == ".csv":
        return _read_csv(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    return np.load(path, mmap_mode="r", allow_pickle=False), []


def _read_csv(path: Path) -> tuple[NDArray[Any], list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        header = next(lines)
        if header[0] != "path":
            raise ValueError("its first column is not `path`")
        names, values = [], []
        for line in lines:
            names.append(line[0])
            values.append(np.array(line[1:], np.float32))
    return np.stack(values), names


def _read_parquet(path: Path) -> tuple[NDArray[Any], list[str]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise WeightsError("reading .parquet needs pyarrow: pip install 'dinocli[parquet]'") from None
    table = parquet.read_table(path, columns=["path", KEY])
    width = table.schema.field(KEY).type.list_size
    vectors = table.column(KEY).combine_chunks()
    return vectors.flatten().to_numpy().reshape(-1, width), table.column("path").to_pylist()


def _names(path: Path, count: int) -> list[str]:
    listed = sidecar(path, ".paths.txt")
    if not listed.is_file():
        return [f"./{row}" for row in range(count)]
    return listed.read_text(encoding="utf-8").split("\n")[:-1]


def _meta(path: Path) -> dict[str, Any]:
    described = sidecar(path, ".json")
    if not described.is_file():
        return {}
    try:
        meta = json.loads(described.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{described} is not JSON ({error}); embed again") from error
    return meta if isinstance(meta, dict) and meta.get("kind") == KEY else {}


def _boxes(path: Path, count: int) -> list[Box] | None:
    tiles = sidecar(path, ".tiles.csv")
    if not tiles.is_file():
        return None
    with tiles.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != count:
        raise WeightsError(f"{tiles} has {len(rows)} tiles, {path.name} {count} rows; they do not belong together")
    return [(int(row["left"]), int(row["top"]), int(row["width"]), int(row["height"])) for row in rows]
