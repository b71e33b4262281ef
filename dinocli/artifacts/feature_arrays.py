"""The numbers of a feature file, read from each format.

No format may run code, or unpack to more than it promises.
"""

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from safetensors.numpy import load_file

from dinocli.errors import WeightsError

KEY = "features"
"""Name of the array in formats that name their arrays, and of the vector's column in Parquet."""

MOST_UNPACKED, MOST_RATIO = 1 << 28, 100
"""Bytes that any packed file may hold, and how many times its own size a larger one may: features hardly shrink."""


def read_arrays(path: Path) -> tuple[NDArray[Any], list[str]]:
    """Return the numbers of a feature file, by its suffix, and the names of the rows where the file itself holds them.

    Args:
        path: Of a `.npz`, `.safetensors`, `.csv`, `.parquet` or `.npy` file; the last stays on the disk.

    Raises:
        ValueError: It is damaged, or no such file; other errors of numpy and of the system too.
        WeightsError: A package is missing.
    """
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as members:
            inside = sum(member.file_size for member in members.infolist())
        if inside > max(MOST_UNPACKED, MOST_RATIO * path.stat().st_size):
            raise ValueError(f"{inside:,} bytes in {path.stat().st_size:,}")
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[KEY], [str(name) for name in arrays["paths"]] if "paths" in arrays else []
    if path.suffix == ".safetensors":
        return load_file(path)[KEY], []
    if path.suffix == ".csv":
        return _read_csv(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    with path.open("rb") as file:
        npy.read_magic(file)  # of anything else numpy says that it may be loaded if one trusts it
    return np.load(path, mmap_mode="r", allow_pickle=False), []


def _read_csv(path: Path) -> tuple[NDArray[Any], list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        if header[:1] != ["path"]:
            raise ValueError("its first column is not `path`")
        names, values = [], []
        for line in filter(None, lines):  # a blank line is no row
            names.append(line[0])
            values.append(np.array(line[1:], np.float32))
    return np.stack(values), names


def _read_parquet(path: Path) -> tuple[NDArray[Any], list[str]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise WeightsError("reading .parquet needs pyarrow: pip install 'dinocli[parquet]'") from None
    table = parquet.read_table(path, columns=["path", KEY])
    vectors = table.column(KEY).combine_chunks()
    widths = set(vectors.value_lengths().to_pylist())  # of fixed-size lists, as we write them, or of plain ones
    if len(widths) != 1 or None in widths:
        raise ValueError("its vectors are missing, or differ in length")
    rows = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(table), *widths)
    return rows, [str(name) for name in table.column("path").to_pylist()]
