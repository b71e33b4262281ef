"""Byte-identical files."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from dinocli.data.tar_shards import decoder_input, image_source, size_and_mtime


def same_files(paths: Sequence[str]) -> list[list[int]]:
    """Group byte-identical files; only files of equal size are read, and unreadable ones are in no group.

    Args:
        paths: Files, or images in tar shards.

    Returns:
        Sorted groups of at least two indices into `paths`.
    """
    by_size: dict[int, list[int]] = defaultdict(list)
    for index, path in enumerate(paths):
        with suppress(OSError):
            by_size[size_and_mtime(path)[0]].append(index)
    by_content: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for size, indices in by_size.items():
        for index in indices if len(indices) > 1 else []:
            with suppress(OSError):
                by_content[size, _digest(paths[index])].append(index)
    return sorted(group for group in by_content.values() if len(group) > 1)


def _digest(path: str) -> bytes:
    source = decoder_input(image_source(path))
    with open(source, "rb") if isinstance(source, str) else source as file:
        return hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=16)).digest()
