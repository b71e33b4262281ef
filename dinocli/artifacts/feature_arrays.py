"""Readers of feature files, one per format. No format may run code, or unpack to more than a size limit."""

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from safetensors.numpy import load_file

from dinocli.errors import WeightsError

FEATURES_KEY = "features"
"""Array name in `.npz` and `.safetensors`, column of the vectors in Parquet, and kind of the output in `run.json`."""

MAX_UNPACKED_BYTES, MAX_COMPRESSION_RATIO = 1 << 28, 100
"""An `.npz` file may unpack to the larger of both limits; real features hardly compress."""


def read_arrays(path: Path) -> tuple[NDArray[Any], list[str]]:
    """Return the features, and the names of the rows if the format holds them (else none).

    Args:
        path: `.npz`, `.safetensors`, `.csv`, `.parquet` or `.npy` file; the last is memory-mapped.

    Raises:
        ValueError: The file is damaged; NumPy and the system may raise other errors.
        WeightsError: A package is missing.
    """
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as members:
            unpacked = sum(member.file_size for member in members.infolist())
        if unpacked > max(MAX_UNPACKED_BYTES, MAX_COMPRESSION_RATIO * path.stat().st_size):
            raise ValueError(f"{unpacked:,} bytes in {path.stat().st_size:,}")
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[FEATURES_KEY], [str(name) for name in arrays["paths"]] if "paths" in arrays else []
    if path.suffix == ".safetensors":
        return load_file(path)[FEATURES_KEY], []
    if path.suffix == ".csv":
        return _read_csv(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    with path.open("rb") as file:
        npy.read_magic(file)  # for other files np.load would suggest allow_pickle=True
    return np.load(path, mmap_mode="r", allow_pickle=False), []


def _read_csv(path: Path) -> tuple[NDArray[Any], list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        if header[:1] != ["path"]:
            raise ValueError("its first column is not `path`")
        names, values = [], []
        for line in filter(None, lines):  # skip blank lines
            names.append(line[0])
            values.append(np.array(line[1:], np.float32))
    return np.stack(values), names


def _read_parquet(path: Path) -> tuple[NDArray[Any], list[str]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise WeightsError("reading .parquet needs pyarrow: pip install 'dinocli[parquet]'") from None
    table = parquet.read_table(path, columns=["path", FEATURES_KEY])
    vectors = table.column(FEATURES_KEY).combine_chunks()
    widths = set(vectors.value_lengths().to_pylist())  # fixed-size lists, as dinocli writes them, or plain lists
    if len(widths) != 1 or None in widths:
        raise ValueError("its vectors are missing, or differ in length")
    rows = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(table), *widths)
    return rows, [str(name) for name in table.column("path").to_pylist()]
