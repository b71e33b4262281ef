"""Shards of a feature file: their names, and their merging to the file that a single process would have written.

Legend: N rows, b rows of a block.
"""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FITTED_SUFFIX, FeatureFile, open_features, sidecar
from dinocli.artifacts.feature_formats import SIDECARS, write_features
from dinocli.artifacts.partial_features import Bad, PartialFeatures
from dinocli.data.bad_images import bad_limit, read_bad
from dinocli.data.region_of_interest import NO_BOX
from dinocli.errors import UsageError, WeightsError
from dinocli.journal import IMAGES, OTHER_IMAGES
from dinocli.progress import ProgressReporter

BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` of the images, counted from 0, for one of several processes or machines."""

    index: int
    count: int

    def slice(self, images: int) -> slice:
        """Return the slice of consecutive images of the shard, so that merged shards keep the order."""
        return slice(images * self.index // self.count, images * (self.index + 1) // self.count)

    def file(self, whole: Path) -> Path:
        """Return the path of the shard of a feature file: `feats.npy` -> `feats.0of4.npy`."""
        return whole.with_name(f"{whole.stem}.{self.index}of{self.count}{whole.suffix}")


def parse_shard(text: str) -> Shard | None:
    """Parse ``i/n``, i from 0 to n - 1; None for an empty text.

    Raises:
        UsageError: The text has another form.
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise UsageError(f"--shard {text!r} is not i/n with i from 0 to n - 1; for example 0/4, 1/4, 2/4, 3/4")
    return Shard(int(match[1]), int(match[2]))


def merge_shards(
    target: Path, shards: Sequence[Path], reporter: ProgressReporter, *, max_bad: str = ""
) -> dict[str, Any]:
    """Merge shards in their order, without the rows of unreadable images.

    Args:
        target: Output feature file.
        shards: Shard files, in any order.
        reporter: Receives the progress.
        max_bad: Limit of the unreadable images of all shards, as `bad_limit`; empty: the one that they were made with.

    Returns:
        Contents of `feats.json`.

    Raises:
        DataError: More unreadable images than the limit.
        WeightsError: The shards do not belong together, or one is missing.
    """
    from dinocli.engine.rare_features import RareFeatures  # loads torch, and options use this module

    begin = time.monotonic()
    files = _in_order([open_features(path) for path in shards])
    first = files[0]
    bad = list(dict.fromkeys(entry for file in files for entry in read_bad(sidecar(file.path, ".bad.csv"))))
    images = sum(file.meta["images"] for file in files)
    if limit := max_bad or first.meta.get("max_bad", ""):
        bad_limit(limit, images + _without_rows(files, bad)).check(bad)
    unreadable = {name for name, _ in bad}
    keeps = [np.array([name not in unreadable for name in file.names], bool) for file in files]
    request = first.meta["request"] | {"shard": ""}
    part = PartialFeatures(target, request, first.rows.shape[1:], first.rows.dtype.str, resume=False)
    try:
        for number, (file, keep_N) in enumerate(zip(files, keeps, strict=True), 1):
            _copy(part, file, keep_N)
            reporter.progress("joining shards", number, len(files))
        meta = {key: value for key, value in first.meta.items() if key not in ("seconds", "images_per_second")}
        meta |= {"n": part.rows, "shape": [part.rows, *part.shape], "images": images}
        meta |= {"bad": len(bad), "shard": "", "request": request, "merged": [str(file.path) for file in files]}
        meta |= {"seconds": round(time.monotonic() - begin, 2)}

        def names() -> Iterable[str]:
            return (name for file, keep_N in zip(files, keeps, strict=True) for name in compress(file.names, keep_N))

        fitted_to = sidecar(first.path, FITTED_SUFFIX)
        fitted = RareFeatures.load(fitted_to) if fitted_to.is_file() else None
        write_features(part, names, meta, bad, tiled=first.boxes is not None, fitted=fitted)
    finally:
        part.close()
    return meta


def shards_beside(target: Path) -> list[Path]:
    """Return the shards beside a feature file.

    Raises:
        UsageError: There are none.
    """
    mark = re.compile(re.escape(target.stem) + r"\.\d+of\d+" + re.escape(target.suffix))
    found = [path for path in target.parent.iterdir() if mark.fullmatch(path.name)] if target.parent.is_dir() else []
    if not found:
        raise UsageError(f"no shards of {target} beside it: name them, or make them with --shard i/n --out {target}")
    return found


def remove_shards(target: Path) -> None:
    """Delete the shards beside a file, with their sidecar files."""
    for path in shards_beside(target):
        for suffix in SIDECARS:
            sidecar(path, suffix).unlink(missing_ok=True)
        path.unlink()


def _in_order(files: list[FeatureFile]) -> list[FeatureFile]:
    """Sort shards by index; raise if one is missing, or if they were made with different settings."""
    shards: list[tuple[Shard, FeatureFile]] = []
    for file in files:
        shard = parse_shard(file.meta.get("shard", ""))
        if not shard:
            raise WeightsError(f"{file.path} is not a shard: its .json names no shard; embed with --shard")
        for key, value in file.meta["request"].items():
            other = files[0].meta["request"].get(key)
            if key != "shard" and value != other:
                words = f"{key}, {OTHER_IMAGES}" if key == IMAGES else f"{key}: {value} and {other}"
                raise WeightsError(f"{file.path} and {files[0].path} differ in {words}; embed again")
        shards.append((shard, file))
    shards.sort(key=lambda item: item[0].index)
    count = shards[0][0].count
    if [shard for shard, _ in shards] != [Shard(index, count) for index in range(count)]:
        given = ", ".join(str(file.meta["shard"]) for file in files)
        raise WeightsError(f"these are the shards {given}, and all shards i/n of one n are needed; embed the others")
    return [file for _, file in shards]


def _without_rows(files: list[FeatureFile], bad: Bad) -> int:
    """Count the unreadable images that have no row in any shard: those whose names no file can hold."""
    return len({name for name, _ in bad}.difference(*(file.names for file in files)))


def _copy(part: PartialFeatures, file: FeatureFile, keep_N: NDArray[np.bool_]) -> None:
    for start in range(0, len(file), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        keep_b = keep_N[block]
        boxes = file.boxes[block] if file.boxes else [NO_BOX] * len(keep_b)
        part.add(file.rows[block][keep_b], list(compress(boxes, keep_b)), len(keep_b), [])
