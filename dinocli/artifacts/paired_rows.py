"""The rows of two feature files that belong to the same image.

Shapes: N rows.
"""

import filecmp
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.errors import DataError

_COMPARED = 32
"""Files whose contents are compared where two roots differ: a folder of other images differs at once."""


class PairedRows(NamedTuple):
    """Rows of two files, pair by pair.

    Args:
        own_N: Rows of the one file.
        base_N: Rows of the other.
        reason: How they were paired, as the end of a sentence.
    """

    own_N: NDArray[np.intp]
    base_N: NDArray[np.intp]
    reason: str


def pair_rows(own: FeatureFile, own_N: NDArray[np.intp], base: FeatureFile, base_N: NDArray[np.intp]) -> PairedRows:
    """Pair rows by where their images lie, or by name where that says which image it is.

    Args:
        own: The one file.
        own_N: Rows of it that can be used.
        base: The other file.
        base_N: Rows of it that can be used.

    Returns:
        No pair where the two have no image in common.

    Raises:
        DataError: Equal names belong to different images, or there are no names and other numbers of rows.
    """
    if _nameless(own) and _nameless(base):
        if len(own) != len(base):
            raise DataError(
                f"{own.path} has {len(own)} rows and {base.path} {len(base)}, both without names: nothing says which "
                "belong together"
            )
        return _paired(own, own_N, base, base_N, "by row number, for want of names")
    silent = next((file.path for file in (own, base) if not file.meta.get("root")), None)
    if silent:
        return _paired(own, own_N, base, base_N, f"by name alone: {silent} does not say where its images lie")
    first, second = (Path(file.meta["root"]).resolve() for file in (own, base))
    if first == second:
        changed = own.names == base.names and _digest(own) != _digest(base)
        more = "; the images have changed between the two files" if changed else ""
        return _paired(own, own_N, base, base_N, f"by name, both in {first}{more}")
    by_place = _paired(own, own_N, base, base_N, "by the place of the image", absolute=True)
    if len(by_place.own_N):
        return by_place
    by_name = _paired(own, own_N, base, base_N, "")
    return by_name._replace(reason=_same_contents(own, base, by_name))


def _paired(
    own: FeatureFile,
    own_N: NDArray[np.intp],
    base: FeatureFile,
    base_N: NDArray[np.intp],
    reason: str,
    *,
    absolute: bool = False,
) -> PairedRows:
    places = dict(_keys(base, base_N, absolute=absolute))
    pairs = [(row, places[key]) for key, row in _keys(own, own_N, absolute=absolute) if key in places]
    rows_N2 = np.array(pairs, np.intp).reshape(-1, 2)
    return PairedRows(rows_N2[:, 0], rows_N2[:, 1], reason)


def _keys(file: FeatureFile, rows: NDArray[np.intp], *, absolute: bool) -> list[tuple[Any, int]]:
    root = Path(file.meta["root"]).resolve() if absolute else None
    keys = []
    for row in rows.tolist():
        name = str(root / file.names[row]) if root else file.names[row]
        keys.append(((name, file.boxes[row] if file.boxes else None), row))
    return keys


def _same_contents(own: FeatureFile, base: FeatureFile, pairs: PairedRows) -> str:
    """Say that images of the same name in two roots are the same, as far as can be seen.

    Raises:
        DataError: Two of them differ.
    """
    chosen = np.unique(np.linspace(0, max(len(pairs.own_N) - 1, 0), _COMPARED).astype(int))[: len(pairs.own_N)]
    compared = 0
    for place in chosen.tolist():
        one, other = own.image(int(pairs.own_N[place])), base.image(int(pairs.base_N[place]))
        if not (one and other and one.is_file() and other.is_file()):
            continue
        if not filecmp.cmp(one, other, shallow=False):
            raise DataError(f"{one} and {other} have the same name and are different images: embed the same images")
        compared += 1
    where = f"in {own.meta['root']} and {base.meta['root']}"
    return f"by name {where}: " + (f"{compared} compared files are equal" if compared else "no file could be compared")


def _nameless(file: FeatureFile) -> bool:
    return all(name == f"./{row}" for row, name in enumerate(file.names))


def _digest(file: FeatureFile) -> Any:
    return file.meta.get("request", {}).get("images")
