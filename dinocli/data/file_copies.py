"""Files that hold the same bytes."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from dinocli.data.tar_shards import size_and_mtime, decoder_input, image_source


def same_files(paths: Sequence[str]) -> list[list[int]]:
    """Group files by their bytes; only those of the same size are read, and what cannot be read is in no group.

    Args:
        paths: Files, or images in archives.

    Returns:
        Places in `paths`: groups of two and more, sorted.
    """
    by_size: dict[int, list[int]] = defaultdict(list)
    for place, path in enumerate(paths):
        with suppress(OSError):
            by_size[size_and_mtime(path)[0]].append(place)
    by_content: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for size, places in by_size.items():
        for place in places if len(places) > 1 else []:
            with suppress(OSError):
                by_content[size, _digest(paths[place])].append(place)
    return sorted(group for group in by_content.values() if len(group) > 1)


def _digest(path: str) -> bytes:
    source = decoder_input(image_source(path))
    with open(source, "rb") if isinstance(source, str) else source as file:
        return hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=16)).digest()
