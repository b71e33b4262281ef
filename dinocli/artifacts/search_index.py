"""Index of a feature file for `search --index`: `feats.index.safetensors` beside it, built when it is first needed."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dinocli.artifacts.feature_file import INDEX_SUFFIX, FeatureFile, sidecar
from dinocli.file_set import claimed
from dinocli.files import with_sorted_metadata, write_atomic
from dinocli.quality.inverted_lists import InvertedLists, build_lists


def open_index(file: FeatureFile, say: Callable[[str], None]) -> InvertedLists:
    """Open the index of a feature file, or build and write it.

    An index of an older feature file, or a damaged one, is replaced.

    Args:
        file: Feature file.
        say: Receives what was built.

    Raises:
        UsageError: Another command is writing the index.
        OSError: The index cannot be written.
    """
    path, stamp = sidecar(file.path, INDEX_SUFFIX), _stamp(file)
    if (found := _read(path, file, stamp)) is not None:
        return found
    with claimed(path):
        index = build_lists(file.flat())
        tensors: dict[str, NDArray[Any]] = {
            "centres": index.centres_LD,
            "order": index.order_N,
            "starts": index.starts_L1,
        }
        about = {"features": stamp, "probes": str(index.probes), "recall": str(index.recall)}
        write_atomic(path, with_sorted_metadata(save(tensors, metadata=about)))
    say(
        f"index {path}: {len(index.centres_LD):,} lists, {index.probes} are read for a query; "
        f"recall@10 {index.recall:.3f} on rows of the file"
    )
    return index


def _stamp(file: FeatureFile) -> str:
    status = os.stat(file.path)
    return json.dumps([status.st_size, status.st_mtime_ns, *file.flat().shape])


def _read(path: Path, file: FeatureFile, stamp: str) -> InvertedLists | None:
    """Return the index in a file; None if it is missing, damaged, or of other features."""
    with suppress(OSError, SafetensorError, KeyError, ValueError), safe_open(path, "np") as stored:
        about = stored.metadata() or {}
        if about["features"] != stamp:
            return None
        index = InvertedLists(
            stored.get_tensor("centres"),
            stored.get_tensor("order"),
            stored.get_tensor("starts"),
            int(about["probes"]),
            float(about["recall"]),
        )
        return index if _is_sound(index, file) else None
    return None


def _is_sound(index: InvertedLists, file: FeatureFile) -> bool:
    count, width = file.flat().shape
    lists = len(index.centres_LD)
    shapes = index.centres_LD.shape == (lists, width) and index.starts_L1.shape == (lists + 1,)
    whole = index.order_N.shape == (count,) and np.array_equal(np.bincount(index.order_N, minlength=count), [1] * count)
    edges = index.starts_L1[0] == 0 and index.starts_L1[-1] == count and (np.diff(index.starts_L1) >= 0).all()
    return bool(shapes and whole and edges and 1 <= index.probes <= lists)
