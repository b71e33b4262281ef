"""Time an exact search in a memory-mapped file against plain NumPy, in one run.

    python benchmarks/search.py --rows 1000000 --width 384

The file is written once, read once so that it is in the page cache, and then searched with query vectors, as `dinocli
search` does after embedding the query. Plain NumPy is `np.load`, normalise, product, sort.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.nearest_rows import nearest_rows
from dinocli.quality.normalized_features import block_threads, single_threaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="folder of the file; temporary by default")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder, "feats.npy")
        write(path, args.rows, args.width)
        gallery_ND = np.load(path, mmap_mode="r")
        query_1D = np.random.default_rng(1).standard_normal((1, args.width)).astype(np.float32)
        expected = obvious(path, query_1D)
        with single_threaded():
            found = nearest_rows(query_1D, gallery_ND, 10, threads=block_threads())
            assert found.rows_QK[0].tolist() == expected.tolist()
            one = median(lambda: nearest_rows(query_1D, gallery_ND, 10, threads=1), args.repeats)
            all_cores = median(lambda: nearest_rows(query_1D, gallery_ND, 10, threads=block_threads()), args.repeats)
            many_QD = np.random.default_rng(2).standard_normal((16, args.width)).astype(np.float32)
            many = median(lambda: nearest_rows(many_QD, gallery_ND, 10, threads=block_threads()), args.repeats)
        plain = median(lambda: obvious(path, query_1D), min(args.repeats, 3))
    print(f"{args.rows:,} rows x {args.width}, float32, {block_threads()} cores; seconds, median of {args.repeats}")
    print(f"one query, one thread     {one:.3f}")
    print(f"one query, all cores      {all_cores:.3f}")
    print(f"16 queries, all cores     {many:.3f}   {many / 16:.3f} a query")
    print(f"load, normalise, sort     {plain:.3f}   {plain / all_cores:.1f} times as long as one query on all cores")


def write(path: Path, rows: int, width: int) -> None:
    """Write random features block by block."""
    random = np.random.default_rng(0)
    file = np.lib.format.open_memmap(path, "w+", np.float32, (rows, width))
    for first in range(0, rows, 50_000):
        part = file[first : first + 50_000]
        part[:] = random.standard_normal(part.shape, np.float32)
    file.flush()


def obvious(path: Path, query_1D: NDArray[np.float32]) -> NDArray[np.intp]:
    features_ND = np.load(path)
    cosine_N = features_ND @ query_1D[0] / np.linalg.norm(features_ND, axis=1)
    return np.argsort(-cosine_N)[:10]


def median(work: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
