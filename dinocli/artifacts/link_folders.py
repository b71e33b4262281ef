"""Cluster folders: links to or copies of images, one folder per cluster, as in an image-folder dataset."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dinocli.data.decode import image_size
from dinocli.data.image_source import image_source, read_source
from dinocli.data.raster_windows import split_window
from dinocli.data.tar_shards import split_member
from dinocli.errors import DataError, UsageError
from dinocli.files import named_errors, write_atomic
from dinocli.quality.grouping import NO_CLUSTER

MARKER_FILE = ".dinocli-cluster"
"""Marks a folder that dinocli wrote: `--force` replaces no other."""

_MAX_NAME_BYTES = 255  # on all usual file systems


def check_tree(folder: Path, *, force: bool) -> None:
    """Raise `UsageError` unless the folder is empty, missing, or written by dinocli and `force` is set."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MARKER_FILE).is_file():
        raise UsageError(f"--link-dir {folder} exists and was not made by `dinocli cluster`; name another folder")
    if not force:
        raise UsageError(f"--link-dir {folder} is there; --force replaces it")


def write_tree(
    folder: Path,
    root: Path,
    names: Sequence[str],
    label_N: NDArray[np.intp],
    *,
    copy: bool,
    follow_links: bool = False,
) -> list[tuple[str, str]]:
    """Write `cluster-0/`, `cluster-1/`, ... and `none/`, with a link to or a copy of each image.

    Files keep their names. Equal names in a cluster, ignoring case, become `name~2.png`, `name~3.png`. Links are
    relative, so that images and links can move together.

    Feature files may come from strangers: names that lead out of `root` are neither linked nor copied, and only images
    are copied.

    Args:
        folder: Output folder; missing or empty.
        root: Folder of the images.
        names: Paths relative to `root`.
        label_N: Cluster of each image.
        copy: Copy files instead of linking them.
        follow_links: Also copy images outside `root` that links in it lead to.

    Returns:
        Names that could not be linked or copied, with the reason.

    Raises:
        DataError: No image could be linked or copied.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / MARKER_FILE, "made by dinocli cluster\n")
    clusters = {label: folder / _folder_name(label, label_N) for label in sorted(set(label_N.tolist()))}
    for cluster in clusters.values():
        cluster.mkdir()
    used: set[tuple[int, str]] = set()
    failed = []
    for name, label in zip(names, label_N.tolist(), strict=True):
        target = clusters[label] / _unused_name(PurePosixPath(name).name, label, used)
        try:
            _check_below(root, name, resolve=copy and not follow_links)
            _link_or_copy(root / name, target, copy=copy)
        except FileNotFoundError as error:
            failed.append((name, error.strerror or str(error)))
        except DataError as error:
            failed.append((name, str(error)))
    if len(failed) == len(names):
        raise DataError(f"none of the {len(names)} images can be put into --link-dir: {failed[0][0]}: {failed[0][1]}")
    return failed


def _folder_name(label: int, label_N: NDArray[np.intp]) -> str:
    digits = len(str(label_N.max(initial=0)))  # zero-padded: names sort as numbers
    return "none" if label == NO_CLUSTER else f"cluster-{label:0{digits}}"


def _unused_name(name: str, label: int, used: set[tuple[int, str]]) -> str:
    stem, suffix = os.path.splitext(name)
    number, unused = 1, name
    while (label, unused.casefold()) in used:
        number += 1
        unused = f"{_shortened(stem, f'~{number}{suffix}')}~{number}{suffix}"
    used.add((label, unused.casefold()))
    return unused


def _shortened(stem: str, tail: str) -> str:
    max_bytes = _MAX_NAME_BYTES - len(os.fsencode(tail))
    return os.fsencode(stem)[:max_bytes].decode("utf-8", "ignore")


def _check_below(root: Path, name: str, *, resolve: bool) -> None:
    """Raise `DataError` if a name, or with `resolve` the target of its links, lies outside `root`."""
    if os.path.isabs(name) or os.path.normpath(name).split("/")[0] == "..":
        raise DataError(f"the name leads out of {root}")
    if resolve and not Path(os.path.realpath(root / name)).is_relative_to(os.path.realpath(root)):
        raise DataError(f"the link leads out of {root}; --follow-links copies what it leads to")


def _link_or_copy(image: Path, target: Path, *, copy: bool) -> None:
    if split_member(str(image)):
        if not copy:
            raise DataError("it lies in a tar shard, where no link leads: use --copy")
        image_size(image)
        write_atomic(target, read_source(image_source(str(image))))
        return
    if split_window(str(image))[1]:
        raise DataError("it is a window of a raster, which has no file of its own")
    if not os.path.lexists(image):
        raise FileNotFoundError(2, "no such file")
    if copy:
        image_size(image)
        with named_errors(target):
            shutil.copy2(image, target)
        return
    # A relative link resolves from the real path of its folder.
    real = Path(os.path.realpath(image.parent), image.name)
    target.symlink_to(os.path.relpath(real, os.path.realpath(target.parent)))
