"""A finished part becomes a feature file of the asked format, with its neighbours, block by block.

Legend: N rows, D width.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_arrays import KEY
from dinocli.artifacts.feature_file import FEATURE_SUFFIXES, FITTED_SUFFIX, sidecar
from dinocli.artifacts.partial_features import Bad, PartialFeatures, npy_header
from dinocli.artifacts.patch_folder import PatchFolder
from dinocli.data.bad_images import write_bad
from dinocli.engine.rare_features import RareFeatures
from dinocli.errors import UsageError, WeightsError
from dinocli.file_set import FileSet
from dinocli.files import whole_file, write_whole

BLOCK_BYTES = 1 << 24
SIDECARS = (".paths.txt", ".tiles.csv", ".bad.csv", ".json", FITTED_SUFFIX)

Rows = NDArray[np.floating]
Names = Callable[[], Iterable[str]]
"""Gives the names of all rows anew each time: a million tiles have the same thousand names."""


def feature_outputs(target: Path) -> tuple[Path, Path]:
    """Return what one process alone may write: the file, and the description that files of one stem share."""
    return target, sidecar(target, ".json")


def check_free(target: Path, *, force: bool, resume: bool = False) -> None:
    """Raise a `UsageError` if the file, or what stands beside it, is there already and nobody said what to do."""
    if force:
        return
    if target.exists() and not resume:
        way = "remove it" if target.is_dir() else "add --force to replace it"
        raise UsageError(f"{target} is there already; {way}, or choose another --out")
    for other in (target.with_suffix(suffix) for suffix in FEATURE_SUFFIXES if suffix != target.suffix):
        if other.is_file() and sidecar(target, ".json").is_file():
            shared = sidecar(target, ".json").name
            raise UsageError(f"{other} is there already and {shared} describes it; choose an --out of another stem")


def write_features(
    part: PartialFeatures | PatchFolder,
    names: Names,
    meta: dict[str, Any],
    bad: Bad,
    *,
    tiled: bool,
    fitted: RareFeatures | None = None,
) -> None:
    """Write the feature file and what stands beside it; all of them change together, the one with the numbers last.

    Args:
        part: All rows. It is gone afterwards.
        names: Names of the rows.
        meta: For `feats.json`.
        bad: Unreadable images; without any there is no such file.
        tiled: Also write the boxes.
        fitted: What the features were computed with, where they were fitted to a folder.

    Raises:
        OSError: The disk is full. The part is kept, and `--resume` needs only to write again; so are the older files.
        WeightsError: The format needs a package that is not installed.
    """
    target = part.target
    part.commit()
    with FileSet(target) as files:
        for suffix in SIDECARS:
            files.drop(sidecar(target, suffix))
        _write_lines(files.new(sidecar(target, ".paths.txt")), names())
        if tiled and isinstance(part, PartialFeatures):
            _write_tiles(files.new(sidecar(target, ".tiles.csv")), names(), part)
        if fitted:
            fitted.save(files.new(sidecar(target, FITTED_SUFFIX)))
        if bad:
            write_bad(files.new(sidecar(target, ".bad.csv")), bad)
        described = json.dumps(meta, indent=2, ensure_ascii=False) + "\n"
        write_whole(files.new(sidecar(target, ".json")), described)
        if target.suffix in WRITERS and isinstance(part, PartialFeatures):
            with whole_file(files.new(target)) as file:
                WRITERS[target.suffix](file, part.array(), names)
        else:
            files.take(target, part.sealed())
        files.swap()
    part.close()
    part.remove()


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with whole_file(path) as file:
        file.writelines(line.encode() + b"\n" for line in lines)


def _write_tiles(path: Path, names: Iterable[str], part: PartialFeatures) -> None:
    with whole_file(path) as file, _text(file) as text:
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(("path", "left", "top", "width", "height"))
        lines.writerows([name, *box] for name, box in zip(names, part.boxes().tolist(), strict=True))


def _write_npz(file: BinaryIO, rows: Rows, names: Names) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(f"{KEY}.npy", "w", force_zip64=True) as member:
            member.write(npy_header(len(rows), rows.shape[1:], rows.dtype.str))
            for block in _blocks(rows):
                member.write(block.tobytes())
        with archive.open("paths.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.array(list(names()), np.str_), allow_pickle=False)


def _write_safetensors(file: BinaryIO, rows: Rows, names: Names) -> None:
    """Write the format by hand, which is a JSON head and the bytes: its library wants all of them at once."""
    kinds = {"float32": "F32", "float16": "F16"}
    about = {"dtype": kinds[rows.dtype.name], "shape": list(rows.shape), "data_offsets": [0, rows.nbytes]}
    head = json.dumps({KEY: about}).encode()
    head += b" " * (-len(head) % 8)
    file.write(len(head).to_bytes(8, "little") + head)
    for block in _blocks(rows):
        file.write(block.tobytes())


def _write_csv(file: BinaryIO, rows: Rows, names: Names) -> None:
    digits = {"float32": 9, "float16": 5}[rows.dtype.name]  # enough to give the same number back
    width = rows.shape[1]
    numbers = ",".join([f"%.{digits}g"] * width)
    file.write((",".join(["path", *(f"f{number}" for number in range(width))]) + "\n").encode())
    listed = iter(names())
    for block in _blocks(rows):
        for name, row in zip(islice(listed, len(block)), block.tolist(), strict=True):
            file.write(f"{_quoted(name)},{numbers % tuple(row)}\n".encode())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name


def _write_parquet(file: BinaryIO, rows: Rows, names: Names) -> None:
    """One column `path`, one column of vectors of fixed length."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise WeightsError("writing .parquet needs pyarrow: pip install 'dinocli[parquet]'") from None
    number = pyarrow.from_numpy_dtype(rows.dtype)
    schema = pyarrow.schema([("path", pyarrow.string()), (KEY, pyarrow.list_(number, rows.shape[1]))])
    listed = iter(names())
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for block in _blocks(rows):
            vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(block.reshape(-1)), rows.shape[1])
            paths = pyarrow.array(list(islice(listed, len(block))), pyarrow.string())
            writer.write_table(pyarrow.Table.from_arrays([paths, vectors], schema=schema))


WRITERS: dict[str, Callable[[BinaryIO, Rows, Names], None]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".safetensors": _write_safetensors,
}
"""Formats that are not simply the part itself."""


def _blocks(rows: Rows) -> Iterator[Rows]:
    """Cut rows into blocks, copied out of the map so that its pages can be given back."""
    step = max(1, BLOCK_BYTES // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), step):
        yield np.array(rows[start : start + step])


class _text(io.TextIOWrapper):
    """A text face of a binary file that leaves the file open."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8", newline="")

    def __exit__(self, *error: object) -> None:
        self.flush()
        self.detach()


def row_names(names: Sequence[str], starts_N1: NDArray[np.int64], left_out: Iterable[str]) -> Names:
    """Return what gives the name of every row: that of its image, once a tile, without the images left out."""
    out = set(left_out)

    def each() -> Iterator[str]:
        counts = np.diff(starts_N1)
        for name, count in zip(names, counts, strict=True):
            if name not in out:
                yield from (name for _ in range(count))

    return each
