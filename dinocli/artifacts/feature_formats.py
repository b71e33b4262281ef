"""Feature file writers: completed rows to `.npy`, `.npz`, `.csv`, `.parquet` or `.safetensors`, block by block."""

import csv
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_arrays import FEATURES_KEY
from dinocli.artifacts.feature_file import BOX_KEYS, FEATURE_SUFFIXES, FITTED_SUFFIX, sidecar
from dinocli.artifacts.partial_features import Bad, PartialFeatures, npy_header
from dinocli.artifacts.patch_folder import PatchFolder
from dinocli.data.bad_images import write_bad
from dinocli.data.georeference import Georeference, georeference_of
from dinocli.errors import UsageError, WeightsError
from dinocli.file_set import FileSet
from dinocli.files import atomic_file
from dinocli.stored import write_json

if TYPE_CHECKING:
    from dinocli.engine.rare_features import RareFeatures

BLOCK_BYTES = 1 << 24
GROUND_KEYS = ("x1", "y1", "x2", "y2", "crs")
"""Columns of `feats.tiles.csv` for GeoTIFF: top left and bottom right corner on the ground, coordinate system."""
SIDECARS = (".paths.txt", ".tiles.csv", ".bad.csv", ".json", FITTED_SUFFIX)

Rows = NDArray[np.floating]
Names = Callable[[], Iterable[str]]
"""Returns an iterator over the names of all rows; no list, since a million tiles share a thousand names."""


def feature_outputs(target: Path) -> tuple[Path, Path]:
    """Return the paths to lock for one process: the feature file, and the `.json` that files of one stem share."""
    return target, sidecar(target, ".json")


def check_free(target: Path, *, force: bool, resume: bool = False) -> None:
    """Raise `UsageError` if the output exists and neither flag allows it.

    It is also raised if a feature file of the same stem exists, which would lose its `.json` and names; not if these
    are those of an older target, beside which there may be a table, such as `feats.csv` of `cluster`.
    """
    if target.exists() and not (resume or force):
        way = "remove it" if target.is_dir() else "add --force to replace it"
        raise UsageError(f"{target} already exists; {way}, or choose another --out")
    for other in (target.with_suffix(suffix) for suffix in FEATURE_SUFFIXES if suffix != target.suffix):
        if other.is_file() and not target.exists() and sidecar(target, ".json").is_file():
            shared = sidecar(target, ".json").name
            raise UsageError(f"{other} already exists and {shared} describes it; choose an --out of another stem")


def write_features(
    partial: PartialFeatures | PatchFolder,
    names: Names,
    meta: dict[str, Any],
    bad: Bad,
    *,
    tiled: bool,
    fitted: "RareFeatures | None" = None,
) -> None:
    """Write a feature file and the files beside it; all are replaced together, the features last.

    Args:
        partial: All rows; removed afterwards.
        names: Name of each row.
        meta: Contents of `feats.json`.
        bad: Unreadable images, for `feats.bad.csv`; no file if empty.
        tiled: Also write `feats.tiles.csv`.
        fitted: State that rare features were fitted with, for `feats.rare.safetensors`.

    Raises:
        OSError: The disk is full. Computed rows and older files stay, so that `--resume` only writes again.
        WeightsError: The format needs a package that is not installed.
    """
    target = partial.target
    partial.commit()
    with FileSet(target) as files:
        for suffix in SIDECARS:
            files.drop(sidecar(target, suffix))
        _write_lines(files.new(sidecar(target, ".paths.txt")), names())
        if tiled and isinstance(partial, PartialFeatures):
            _write_tiles(files.new(sidecar(target, ".tiles.csv")), names(), partial, meta["root"])
        if fitted:
            fitted.save(files.new(sidecar(target, FITTED_SUFFIX)))
        if bad:
            write_bad(files.new(sidecar(target, ".bad.csv")), bad)
        write_json(files.new(sidecar(target, ".json")), meta)
        if target.suffix in WRITERS and isinstance(partial, PartialFeatures):
            with atomic_file(files.new(target)) as file:
                WRITERS[target.suffix](file, partial.array(), names)
        else:
            files.adopt(target, partial.finalize())
        files.commit()
    partial.close()
    partial.remove()


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic_file(path) as file:
        file.writelines(line.encode() + b"\n" for line in lines)


def _write_tiles(path: Path, names: Iterable[str], partial: PartialFeatures, root: str) -> None:
    """Write the tile of each row in pixels; of a GeoTIFF also two corners on the ground and the coordinate system."""

    @lru_cache(maxsize=1)  # the tiles of an image follow one another
    def place(name: str) -> Georeference | None:
        return georeference_of(os.path.join(root, name))

    def ground(name: str, box: list[int]) -> list[object]:
        georeference = place(name)
        corners = georeference.corners(box) if georeference else None
        return [*corners, georeference.crs] if georeference and corners else [""] * len(GROUND_KEYS)

    with atomic_file(path) as file, _TextWriter(file) as text:
        lines = csv.writer(text, lineterminator="\n")
        rows = ([name, *box, *ground(name, box)] for name, box in zip(names, partial.boxes().tolist(), strict=True))
        first = next(rows, [])
        columns = ("path", *BOX_KEYS, *(GROUND_KEYS if any(first[-len(GROUND_KEYS) :]) else ()))
        lines.writerow(columns)
        lines.writerows(row[: len(columns)] for row in chain([first] if first else [], rows))


def _write_npz(file: BinaryIO, rows: Rows, names: Names) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(f"{FEATURES_KEY}.npy", "w", force_zip64=True) as member:
            member.write(npy_header(len(rows), rows.shape[1:], rows.dtype.str))
            for block in _blocks(rows):
                member.write(block.tobytes())
        with archive.open("paths.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.array(list(names()), np.str_), allow_pickle=False)


def _write_safetensors(file: BinaryIO, rows: Rows, names: Names) -> None:
    """Write the format by hand, a JSON header and the bytes: the library needs all rows in memory."""
    dtypes = {"float32": "F32", "float16": "F16"}
    tensor = {"dtype": dtypes[rows.dtype.name], "shape": list(rows.shape), "data_offsets": [0, rows.nbytes]}
    header = json.dumps({FEATURES_KEY: tensor}).encode()
    header += b" " * (-len(header) % 8)
    file.write(len(header).to_bytes(8, "little") + header)
    for block in _blocks(rows):
        file.write(block.tobytes())


def _write_csv(file: BinaryIO, rows: Rows, names: Names) -> None:
    digits = {"float32": 9, "float16": 5}[rows.dtype.name]  # enough to read the same value back
    width = rows.shape[1]
    line_format = ",".join([f"%.{digits}g"] * width)
    file.write((",".join(["path", *(f"f{column}" for column in range(width))]) + "\n").encode())
    remaining = iter(names())
    for block in _blocks(rows):
        for name, row in zip(islice(remaining, len(block)), block.tolist(), strict=True):
            file.write(f"{_quoted(name)},{line_format % tuple(row)}\n".encode())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name


def _write_parquet(file: BinaryIO, rows: Rows, names: Names) -> None:
    """Write a column `path` and a column `features` of fixed-size lists."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise WeightsError("writing .parquet needs pyarrow: pip install 'dinocli[parquet]'") from None
    value_type = pyarrow.from_numpy_dtype(rows.dtype)
    schema = pyarrow.schema([("path", pyarrow.string()), (FEATURES_KEY, pyarrow.list_(value_type, rows.shape[1]))])
    remaining = iter(names())
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for block in _blocks(rows):
            vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(block.reshape(-1)), rows.shape[1])
            paths = pyarrow.array(list(islice(remaining, len(block))), pyarrow.string())
            writer.write_table(pyarrow.Table.from_arrays([paths, vectors], schema=schema))


WRITERS: dict[str, Callable[[BinaryIO, Rows, Names], None]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".safetensors": _write_safetensors,
}
"""Writer of each format but `.npy`, which is the file of `PartialFeatures` under its final name."""


def _blocks(rows: Rows) -> Iterator[Rows]:
    """Yield rows in blocks of `BLOCK_BYTES`, copied so that the pages of the memory map can be freed."""
    step = max(1, BLOCK_BYTES // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), step):
        yield np.array(rows[start : start + step])


class _TextWriter(io.TextIOWrapper):
    """Text writer over a binary file that stays open at the end."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8", newline="")

    def __exit__(self, *error: object) -> None:
        self.flush()
        self.detach()


def row_names(names: Sequence[str], starts_N1: NDArray[np.int64], excluded: Iterable[str]) -> Names:
    """Return the names of all rows: each image's name, repeated for its tiles.

    Args:
        names: N images.
        starts_N1: First tile of each image, and the number of all tiles.
        excluded: Images without rows.
    """
    skip = set(excluded)

    def each() -> Iterator[str]:
        counts = np.diff(starts_N1)
        for name, count in zip(names, counts, strict=True):
            if name not in skip:
                yield from (name for _ in range(count))

    return each
