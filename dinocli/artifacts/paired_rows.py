"""Matching rows of two feature files: rows of the same image or tile.

Shapes: N rows.
"""

import filecmp
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.errors import DataError

_MAX_COMPARED_FILES = 32
"""Files to compare byte by byte if the folders differ; other images differ in the first one."""


class PairedRows(NamedTuple):
    """Rows of two files, pair by pair.

    Args:
        left_N: Rows of the first file.
        right_N: Rows of the second file.
        reason: How they were matched, as the end of a sentence.
    """

    left_N: NDArray[np.intp]
    right_N: NDArray[np.intp]
    reason: str


def pair_rows(left: FeatureFile, left_N: NDArray[np.intp], right: FeatureFile, right_N: NDArray[np.intp]) -> PairedRows:
    """Match rows by the absolute path of the image, else by name if the images are the same.

    Args:
        left: First file.
        left_N: Its usable rows.
        right: Second file.
        right_N: Its usable rows.

    Returns:
        The pairs; none if the files share no image.

    Raises:
        DataError: Equal names belong to different images, or neither file has names and their lengths differ.
    """
    if _nameless(left) and _nameless(right):
        if len(left) != len(right):
            raise DataError(
                f"{left.path} has {len(left)} rows and {right.path} {len(right)}, both without names: nothing says "
                "which belong together"
            )
        return _inner_join(left, left_N, right, right_N, "by row number: neither file has names")
    rootless = next((file.path for file in (left, right) if not file.meta.get("root")), None)
    if rootless:
        return _inner_join(left, left_N, right, right_N, f"by name alone: {rootless} does not say where its images lie")
    left_root, right_root = (Path(file.meta["root"]).resolve() for file in (left, right))
    if left_root == right_root:
        changed = left.names == right.names and _images_hash(left) != _images_hash(right)
        note = "; the images have changed between the two files" if changed else ""
        return _inner_join(left, left_N, right, right_N, f"by name, both in {left_root}{note}")
    by_path = _inner_join(left, left_N, right, right_N, "by the path of the image", absolute=True)
    if len(by_path.left_N):
        return by_path
    by_name = _inner_join(left, left_N, right, right_N, "")
    return by_name._replace(reason=_compare_contents(left, right, by_name))


def _inner_join(
    left: FeatureFile,
    left_N: NDArray[np.intp],
    right: FeatureFile,
    right_N: NDArray[np.intp],
    reason: str,
    *,
    absolute: bool = False,
) -> PairedRows:
    right_rows = dict(_keys(right, right_N, absolute=absolute))
    pairs = [(row, right_rows[key]) for key, row in _keys(left, left_N, absolute=absolute) if key in right_rows]
    rows_N2 = np.array(pairs, np.intp).reshape(-1, 2)
    return PairedRows(rows_N2[:, 0], rows_N2[:, 1], reason)


def _keys(file: FeatureFile, rows: NDArray[np.intp], *, absolute: bool) -> list[tuple[Any, int]]:
    root = Path(file.meta["root"]).resolve() if absolute else None
    keys = []
    for row in rows.tolist():
        name = str(root / file.names[row]) if root else file.names[row]
        keys.append(((name, file.boxes[row] if file.boxes else None), row))
    return keys


def _compare_contents(left: FeatureFile, right: FeatureFile, pairs: PairedRows) -> str:
    """Compare a sample of the paired image files, and return the reason for matching them by name.

    Raises:
        DataError: Two files differ.
    """
    count = len(pairs.left_N)
    sample = np.unique(np.linspace(0, max(count - 1, 0), _MAX_COMPARED_FILES).astype(int))[:count]
    compared = 0
    for pair in sample.tolist():
        one, other = left.image(int(pairs.left_N[pair])), right.image(int(pairs.right_N[pair]))
        if not (one and other and one.is_file() and other.is_file()):
            continue
        if not filecmp.cmp(one, other, shallow=False):
            raise DataError(f"{one} and {other} have the same name and are different images: embed the same images")
        compared += 1
    where = f"in {left.meta['root']} and {right.meta['root']}"
    return f"by name {where}: " + (f"{compared} compared files are equal" if compared else "no file could be compared")


def _nameless(file: FeatureFile) -> bool:
    return all(name == f"./{row}" for row, name in enumerate(file.names))


def _images_hash(file: FeatureFile) -> Any:
    return file.meta.get("request", {}).get("images")
