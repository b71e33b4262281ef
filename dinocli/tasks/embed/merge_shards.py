"""Merge shards to the feature file that a single process would have written.

Legend: N rows, b rows of a block.
"""

import re
import time
from collections.abc import Iterable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from dinocli.artifacts.feature_arrays import KEY
from dinocli.artifacts.feature_file import FITTED_SUFFIX, FeatureFile, open_features, sidecar
from dinocli.artifacts.feature_formats import SIDECARS, check_free, feature_outputs, write_features
from dinocli.artifacts.partial_features import PartialFeatures
from dinocli.artifacts.run_folder import RunFolder, add_output
from dinocli.data.bad_images import read_bad
from dinocli.engine.image_batches import NO_BOX
from dinocli.engine.rare_features import RareFeatures
from dinocli.errors import UsageError, WeightsError
from dinocli.file_set import claimed
from dinocli.progress import ProgressReporter
from dinocli.tasks.embed.embed_options import EmbedResult, Shard, parse_shard

BLOCK_ROWS = 4096


def merge(
    out: str, shards: Sequence[str] = (), *, force: bool = False, reporter: ProgressReporter | None = None
) -> EmbedResult:
    """Merge shards in their order, without the rows of unreadable images.

    Args:
        out: Output feature file.
        shards: Shard files; empty for those that `--shard` wrote beside `out`.
        force: Replace an existing file.
        reporter: Receives the progress.

    Raises:
        UsageError: The output exists, or there are no shards.
        WeightsError: The shards do not belong together, or one is missing.
    """
    target = Path(out)
    with claimed(*feature_outputs(target)):
        check_free(target, force=force)
        return _merged(target, shards, reporter or ProgressReporter())


def _merged(target: Path, shards: Sequence[str], reporter: ProgressReporter) -> EmbedResult:
    begin = time.monotonic()
    files = [open_features(path) for path in (map(Path, shards) if shards else _beside(target))]
    files = _in_order(files)
    first = files[0]
    bad = list(dict.fromkeys(entry for file in files for entry in read_bad(sidecar(file.path, ".bad.csv"))))
    unreadable = {name for name, _ in bad}
    keeps = [np.array([name not in unreadable for name in file.names], bool) for file in files]
    request = first.meta["request"] | {"shard": ""}
    part = PartialFeatures(target, request, first.rows.shape[1:], first.rows.dtype.str, resume=False)
    try:
        for number, (file, keep_N) in enumerate(zip(files, keeps, strict=True), 1):
            _copy(part, file, keep_N)
            reporter.progress("joining shards", number, len(files))
        images = sum(file.meta["images"] for file in files)
        seconds = time.monotonic() - begin
        outcome = EmbedResult(target, part.rows, part.shape, images, len(bad), seconds, 0.0, first.meta["root"])
        meta = _meta(first.meta, outcome, request, [str(file.path) for file in files])

        def names() -> Iterable[str]:
            return (name for file, keep_N in zip(files, keeps, strict=True) for name in compress(file.names, keep_N))

        fitted_to = sidecar(first.path, FITTED_SUFFIX)
        fitted = RareFeatures.load(fitted_to) if fitted_to.is_file() else None
        write_features(part, names, meta, bad, tiled=first.boxes is not None, fitted=fitted)
    finally:
        part.close()
    if meta["run"]:
        add_output(RunFolder(Path(meta["run"])), KEY, target, reporter)
    return outcome


def remove_shards(target: Path) -> None:
    """Delete the shards beside a file, with their sidecar files."""
    for path in _beside(target):
        for suffix in SIDECARS:
            sidecar(path, suffix).unlink(missing_ok=True)
        path.unlink()


def _beside(target: Path) -> list[Path]:
    mark = re.compile(re.escape(target.stem) + r"\.\d+of\d+" + re.escape(target.suffix))
    found = [path for path in target.parent.iterdir() if mark.fullmatch(path.name)] if target.parent.is_dir() else []
    if not found:
        raise UsageError(f"no shards of {target} beside it: name them, or make them with --shard i/n --out {target}")
    return found


def _in_order(files: list[FeatureFile]) -> list[FeatureFile]:
    """Sort shards by index; raise if one is missing, or if they were made with different settings."""
    shards: list[tuple[Shard, FeatureFile]] = []
    for file in files:
        shard = parse_shard(file.meta.get("shard", ""))
        if not shard:
            raise WeightsError(f"{file.path} is no shard: its .json names no shard; embed with --shard")
        for key, value in file.meta["request"].items():
            other = files[0].meta["request"].get(key)
            if key != "shard" and value != other:
                raise WeightsError(f"{file.path} and {files[0].path} differ in {key}: {value} and {other}; embed again")
        shards.append((shard, file))
    shards.sort(key=lambda item: item[0].index)
    count = shards[0][0].count
    if [shard for shard, _ in shards] != [Shard(index, count) for index in range(count)]:
        given = ", ".join(str(file.meta["shard"]) for file in files)
        raise WeightsError(f"these are the shards {given}, and all shards i/n of one n are needed; embed the others")
    return [file for _, file in shards]


def _copy(part: PartialFeatures, file: FeatureFile, keep_N: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    for start in range(0, len(file), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        keep_b = keep_N[block]
        boxes = file.boxes[block] if file.boxes else [NO_BOX] * len(keep_b)
        part.add(file.rows[block][keep_b], list(compress(boxes, keep_b)), len(keep_b), [])


def _meta(first: dict[str, Any], outcome: EmbedResult, request: dict[str, Any], shards: list[str]) -> dict[str, Any]:
    meta = {key: value for key, value in first.items() if key not in ("seconds", "images_per_second")}
    meta |= {"n": outcome.rows, "shape": [outcome.rows, *outcome.shape]}
    meta |= {"images": outcome.images, "bad": outcome.bad, "shard": "", "request": request}
    return meta | {"merged": shards, "seconds": round(outcome.seconds, 2)}
