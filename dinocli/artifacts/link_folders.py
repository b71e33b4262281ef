"""A folder a group, with links to its images: for file managers, and for everything that reads folders as classes."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dinocli.data.decode import image_size
from dinocli.data.tar_shards import content_of, image_source, split_member
from dinocli.errors import DataError, UsageError
from dinocli.files import naming, write_whole
from dinocli.quality.grouping import NONE

MARK = ".dinocli-cluster"
"""A file that says who made a tree: `--force` removes no other."""

_LONGEST = 255  # bytes of a file's name, on every usual file system


def check_tree(folder: Path, *, force: bool) -> None:
    """Raise a `UsageError` if the folder holds anything, unless it is a tree of ours and may be replaced."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MARK).is_file():
        raise UsageError(f"--link-dir {folder} is there and was not made by `dinocli cluster`; name another folder")
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
    """Make `cluster-0/`, `cluster-1/`, ... and `none/`, with a link or a copy of every image.

    A file keeps its own name; where two of a group have the same, whatever the case of their letters, the later ones
    become `name~2.png`, `name~3.png`. Links are relative, so that images and tree may move together.

    A feature file may be anybody's: a name that leads out of the folder of the images is neither linked nor copied, and
    what is copied has to be an image.

    Args:
        folder: Folder of the tree; it is made, or empty.
        root: Folder of the images.
        names: Relative to it.
        label_N: Group of each image.
        copy: Copies instead of links.
        follow_links: Also copy images outside the folder, to which links in it lead.

    Returns:
        Names that could not be linked or copied, with the reason.

    Raises:
        DataError: That is all of them.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / MARK, "made by dinocli cluster\n")
    groups = {label: folder / _folder_name(label, label_N) for label in sorted(set(label_N.tolist()))}
    for group in groups.values():
        group.mkdir()
    taken: set[tuple[int, str]] = set()
    failed = []
    for name, label in zip(names, label_N.tolist(), strict=True):
        target = groups[label] / _free_name(PurePosixPath(name).name, label, taken)
        try:
            _check_below(root, name, real=copy and not follow_links)
            _put(root / name, target, copy=copy)
        except FileNotFoundError as error:
            failed.append((name, error.strerror or str(error)))
        except DataError as error:
            failed.append((name, str(error)))
    if len(failed) == len(names):
        raise DataError(f"none of the {len(names)} images can be put into --link-dir: {failed[0][0]}: {failed[0][1]}")
    return failed


def _folder_name(label: int, label_N: NDArray[np.intp]) -> str:
    digits = len(str(label_N.max(initial=0)))  # so that folders sort as numbers do
    return "none" if label == NONE else f"cluster-{label:0{digits}}"


def _free_name(name: str, label: int, taken: set[tuple[int, str]]) -> str:
    stem, suffix = os.path.splitext(name)
    number, free = 1, name
    while (label, free.casefold()) in taken:
        number += 1
        free = f"{_shortened(stem, f'~{number}{suffix}')}~{number}{suffix}"
    taken.add((label, free.casefold()))
    return free


def _shortened(stem: str, tail: str) -> str:
    room = _LONGEST - len(os.fsencode(tail))
    return os.fsencode(stem)[:room].decode("utf-8", "ignore")


def _check_below(root: Path, name: str, *, real: bool) -> None:
    """Raise a `DataError` if a name, or with `real` the file behind its links, lies outside the folder."""
    if os.path.isabs(name) or os.path.normpath(name).startswith(".."):
        raise DataError(f"the name leads out of {root}")
    if real and not Path(os.path.realpath(root / name)).is_relative_to(os.path.realpath(root)):
        raise DataError(f"the link leads out of {root}; --follow-links copies what it leads to")


def _put(image: Path, target: Path, *, copy: bool) -> None:
    if split_member(str(image)):
        if not copy:
            raise DataError("it lies in a tar shard, where no link leads: use --copy")
        image_size(image)
        write_whole(target, content_of(image_source(str(image))))
        return
    if not os.path.lexists(image):
        raise FileNotFoundError(2, "no such file")
    if copy:
        image_size(image)
        with naming(target):
            shutil.copy2(image, target)
        return
    # A relative link is read from where its folder really is, behind all other links.
    real = Path(os.path.realpath(image.parent), image.name)
    target.symlink_to(os.path.relpath(real, os.path.realpath(target.parent)))
