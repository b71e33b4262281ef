"""Feature files: the output of `embed` and the input of every later command.

`feats.npy` holds the features. Files beside it, with the same stem:

- `feats.paths.txt`: image of each row
- `feats.json`: weights, preprocessing and request
- `feats.tiles.csv`: tile of each row, with --tile
- `feats.rare.safetensors`: state fitted to the images, with `rare` tokens

Shapes: N rows, D width, h w rows and columns of a patch grid.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dinocli.artifacts.feature_arrays import FEATURES_KEY, read_arrays
from dinocli.artifacts.pooled_rows import pooled_rows
from dinocli.artifacts.run_record import WeightsRecord
from dinocli.config.preprocess import Preprocess
from dinocli.data.region_of_interest import NO_BOX, Box
from dinocli.errors import DataError, WeightsError
from dinocli.file_set import read_consistent
from dinocli.models.token_kinds import POOLED_RARE
from dinocli.stored import AnyJson, Count, Name, Stored, read_json, reading, usable_name

FEATURE_SUFFIXES = (".npy", ".npz", ".csv", ".parquet", ".safetensors")
FITTED_SUFFIX = ".rare.safetensors"
"""Suffix of the state that rare features were fitted with (`dinocli.engine.rare_features`)."""
INDEX_SUFFIX = ".index.safetensors"
"""Suffix of the index of `search --index` (`search_index`)."""

_BLOCK_ROWS = 4096
BOX_KEYS = ("left", "top", "width", "height")


class FeatureRecord(Stored):
    """Fields of `feats.json` that later commands read."""

    n: Count
    shape: list[Annotated[int, Field(ge=-1, le=2**62)]] = Field(min_length=2, max_length=4)  # -1: differs by image
    images: Count = 0
    bad: Count = 0
    tokens: Name = "pooled"
    layers: int = Field(1, ge=1, le=1000)
    normalized: bool = False
    precision: str = ""
    tile: str = ""
    shard: str = ""
    max_bad: str = ""
    weights: WeightsRecord
    preprocess: AnyJson
    root: Name
    run: Name = ""
    request: AnyJson = Field(default_factory=dict)
    images_per_second: float = Field(0.0, ge=0, allow_inf_nan=False)


@dataclass(frozen=True)
class FeatureFile:
    """Features of images, with the names of the images.

    Args:
        path: Path of the file that holds the features.
        rows: (N, D), or (N, h, w, D) for patch tokens; read-only; `.npy` files are memory-mapped.
        names: Image of each row, as `./a/b.png`; repeated for each tile of a tiled image.
        meta: Contents of `feats.json`; empty without that file.
        boxes: Tile of each row; None if rows are whole images.
        dropped: Number of rows left out because they are not finite.
    """

    path: Path
    rows: NDArray[np.floating]
    names: list[str]
    meta: dict[str, Any]
    boxes: list[Box] | None = None
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def flat(self) -> NDArray[np.floating]:
        """Return the rows, (N, D).

        Raises:
            WeightsError: The file holds patch tokens.
        """
        if self.rows.ndim != 2:
            raise WeightsError(f"{self.path} holds patch tokens, {self.rows.shape}; embed again with --tokens pooled")
        return self.rows

    def finite_rows(self) -> NDArray[np.intp]:
        """Return the indices of rows without NaN and infinity, read block by block."""
        rows_ND = self.flat()
        starts = range(0, len(rows_ND), _BLOCK_ROWS)
        parts = [np.isfinite(rows_ND[start : start + _BLOCK_ROWS]).all(axis=1) for start in starts]
        return np.flatnonzero(np.concatenate(parts)) if parts else np.empty(0, np.intp)

    def finite(self) -> "FeatureFile":
        """Return the file with finite rows alone: itself if all rows are finite, else a copy of them.

        Raises:
            DataError: No row is finite.
        """
        rows_N = self.finite_rows()
        if not len(rows_N):
            raise DataError(f"{self.path} has no row of finite numbers; embed again")
        if len(rows_N) == len(self):
            return self
        rows = rows_N.tolist()
        boxes = [self.boxes[row] for row in rows] if self.boxes else None
        names, dropped = [self.names[row] for row in rows], len(self) - len(rows)
        return replace(self, rows=self.rows[rows_N], names=names, boxes=boxes, dropped=dropped)

    @cached_property
    def pooled_ND(self) -> NDArray[np.floating]:
        """Pooled features, (N, D), not whitened: the rows themselves unless the file holds `pooled+rare` tokens.

        Without the fitted state, the rows are returned unchanged (`missing_state`).
        """
        if self.meta.get("tokens") != POOLED_RARE or self.missing_state():
            return self.flat()
        return pooled_rows(self.flat(), sidecar(self.path, FITTED_SUFFIX))

    def missing_state(self) -> str:
        """Return a message if the pooled part of `pooled+rare` rows cannot be computed; else empty."""
        state = sidecar(self.path, FITTED_SUFFIX)
        if self.meta.get("tokens") != POOLED_RARE or state.is_file():
            return ""
        return f"{state} is missing: copies and odd images are judged on whitened features with rare patches"

    def needs_whitening(self, requested: bool, notify: Callable[[str], None]) -> bool:
        """Return `requested`, or False with a notice if the rows are whitened already."""
        if requested and self.meta.get("whitened"):
            notify(f"{self.path} is whitened already (--tokens {self.meta.get('tokens')}), so --whiten changes nothing")
            return False
        return requested

    def preprocess(self) -> Preprocess | None:
        """Return the preprocessing of the images; None without `feats.json`."""
        stored = self.meta.get("preprocess")
        return Preprocess.from_dict(stored) if stored else None

    @property
    def root(self) -> Path | None:
        """Folder of the images; None if unknown or missing."""
        root = self.meta.get("root")
        return Path(root) if root and Path(root).is_dir() else None

    def image(self, row: int) -> Path | None:
        """Return the path of a row's image; None if the folder of the images is unknown."""
        root = self.meta.get("root")
        return Path(root, self.names[row]) if root else None


def sidecar(path: Path, suffix: str) -> Path:
    """Return the path of a file beside a feature file: `feats.npy`, `.paths.txt` -> `feats.paths.txt`."""
    return path.with_name(path.stem + suffix)


def open_features(path: str | Path) -> FeatureFile:
    """Open a feature file: a format of `FEATURE_SUFFIXES`, or a plain `.npy` matrix from another tool.

    Example:
        >>> file = dinocli.open_features("feats.npy")
        >>> len(file), file.names[0]
        (8, './a/0.png')

    Args:
        path: Feature file; the suffix selects the format.

    Raises:
        WeightsError: The file is missing or damaged, or files beside it do not match it.
    """
    return read_consistent(Path(path), _open)


def check_exists(path: Path) -> None:
    """Raise `WeightsError` if the feature file does not exist."""
    if not path.is_file():
        raise WeightsError(f"no such feature file: {path}; `dinocli embed IMAGES --out {path.name}` makes one")


def _open(path: Path) -> FeatureFile:
    check_exists(path)
    with reading(f"{path} as features", "embed again"):
        rows, names = read_arrays(path)
    if rows.ndim not in (2, 4) or not np.issubdtype(rows.dtype, np.floating):
        raise WeightsError(
            f"{path} holds {rows.dtype} of shape {rows.shape}, no features: floats, one row an image; if it is an "
            "image, give its folder, or a list with its name: @list.txt"
        )
    if not rows.shape[-1]:
        raise WeightsError(f"{path} holds rows of width 0; embed again")
    with reading(f"the names of {path}", "embed again"):
        names = [usable_name(name) for name in names or _names(path, len(rows))]
    if len(names) != len(rows):
        raise WeightsError(f"{path} has {len(rows)} rows but {len(names)} names; they do not belong together")
    meta = read_meta(path)
    if meta and meta["n"] != len(rows):
        raise WeightsError(f"{path} has {len(rows)} rows, its .json says {meta['n']}; they do not belong together")
    return FeatureFile(path, rows, names, meta, _boxes(path, rows))


def _names(path: Path, count: int) -> list[str]:
    listed = sidecar(path, ".paths.txt")
    if not listed.is_file():
        return [f"./{row}" for row in range(count)]
    text = listed.read_text(encoding="utf-8-sig").removesuffix("\n")
    return text.split("\n") if text else []


def read_meta(path: Path) -> dict[str, Any]:
    """Read and check the `.json` file beside a feature file; empty if it is missing or not from `embed`.

    Raises:
        WeightsError: The file is damaged.
    """
    meta_path = sidecar(path, ".json")
    if not meta_path.is_file():
        return {}
    if read_json(meta_path, Stored, "embed again").get("kind") != FEATURES_KEY:
        return {}
    meta = read_json(meta_path, FeatureRecord, "embed again")
    Preprocess.from_dict(meta["preprocess"])
    return meta


def _boxes(path: Path, rows: NDArray[np.floating]) -> list[Box] | None:
    """Read the tile of each row; only rows of NaN, for the unreadable images of a shard, may have `NO_BOX`."""
    tiles = sidecar(path, ".tiles.csv")
    if not tiles.is_file():
        return None
    with reading(tiles, "embed again"):
        with tiles.open(newline="", encoding="utf-8") as file:
            numbers = [tuple(int(line[key]) for key in BOX_KEYS) for line in csv.DictReader(file)]
        boxes = [(left, top, width, height) for left, top, width, height in numbers]
        wrong = [row for row, box in enumerate(boxes) if min(box[:2]) < 0 or min(box[2:]) < 1]
        if any(boxes[row] != NO_BOX or not np.isnan(rows[row : row + 1]).all() for row in wrong):
            raise ValueError("a tile has no area or a negative position")
    if len(boxes) != len(rows):
        raise WeightsError(f"{tiles} has {len(boxes)} tiles, {path.name} {len(rows)} rows; they do not belong together")
    return boxes
