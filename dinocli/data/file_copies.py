"""Byte-identical files, in one list or in two."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from dinocli.data.image_source import decoder_input, image_source, size_and_mtime
from dinocli.data.raster_windows import split_window


def same_files(paths: Sequence[str]) -> list[list[int]]:
    """Group byte-identical files; only files of equal size are read, and unreadable ones are in no group.

    Args:
        paths: Files, or images in tar shards.

    Returns:
        Sorted groups of at least two indices into `paths`.
    """
    sizes = _sizes(paths)
    counts = Counter(sizes)
    by_content: dict[bytes, list[int]] = defaultdict(list)
    for index, size in enumerate(sizes):
        if size >= 0 and counts[size] > 1:
            with suppress(OSError):
                by_content[_digest(paths[index])].append(index)
    return sorted(group for group in by_content.values() if len(group) > 1)


def equal_files(paths: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """Match byte-identical files of two lists; only files of a size that occurs in both are read.

    Returns:
        Index into `others` by index into `paths`, for files with a match; of several equal files the last.
    """
    sizes, other_sizes = _sizes(paths), _sizes(others)
    shared = set(sizes) & set(other_sizes) - {-1}
    by_content = {_digest(others[index]): index for index, size in enumerate(other_sizes) if size in shared}
    matches = {index: by_content.get(_digest(paths[index])) for index, size in enumerate(sizes) if size in shared}
    return {index: other for index, other in matches.items() if other is not None}


def _sizes(paths: Sequence[str]) -> list[int]:
    """Return the sizes in bytes; -1 for missing files, and for windows of rasters, which are parts of a file."""
    sizes = []
    for path in paths:
        try:
            sizes.append(-1 if split_window(path)[1] else size_and_mtime(path)[0])
        except OSError:
            sizes.append(-1)
    return sizes


def _digest(path: str) -> bytes:
    source = decoder_input(image_source(path))
    with open(source, "rb") if isinstance(source, str) else source as file:
        return hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=16)).digest()
