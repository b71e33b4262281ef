"""Resolve the inputs of a command (folders, files, globs, lists, stdin) to a sorted list of images.

Files are not opened: a listed image may still be unreadable.
"""

import difflib
import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from dinocli.data.folder_walk import PREVIEW_FOLDERS, SYSTEM_FOLDERS, FolderWalk, unique_real_paths
from dinocli.data.image_formats import image_suffixes
from dinocli.data.image_list import ImageList
from dinocli.data.mask_names import mask_names, version_names
from dinocli.data.name_patterns import select_names
from dinocli.data.path_list import listed_paths, read_path_list
from dinocli.data.raster_windows import WINDOW, split_window, window_paths
from dinocli.data.relative_names import escaped_names, relative_names, root_folder
from dinocli.data.tar_shards import expand_braces, is_shard, refuse_compressed, split_member
from dinocli.errors import DataError, UsageError, counted


def find_images(
    inputs: Sequence[str],
    *,
    stdin: BinaryIO | None = None,
    null: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    root: str = "",
    window: int = 0,
) -> ImageList:
    """List the images of the inputs.

    Args:
        inputs: Folders (see `FolderWalk`), files (any suffix), tar shards (see `TarShard`; ``{000..012}.tar`` for
            several), globs, ``@list.txt`` or ``@list.csv`` (see `read_path_list`), ``-`` (paths on standard input).
            Listed paths are relative to the working directory; those with an image suffix are not checked to be files.
            An input that exists verbatim is not expanded as a glob.
        stdin: Standard input, for ``-``.
        null: Paths on standard input are separated by NUL, not by line feeds.
        include: Patterns; only images that match one of them are listed. Empty lists all.
        exclude: Patterns; images that match one of them are left out. A pattern without a slash is matched with each
            folder and file name of an image (``masks``, ``*_mask.png``), one with a slash with its path and the ends of
            it (``b/masks``).
        root: Folder that names are relative to; empty for the input folder, or the deepest common parent of several.
        window: As `window_paths`: side of the windows of large TIFF files, pixels.

    Returns:
        The same list for any order of the inputs; an image named twice is listed once.

    Raises:
        DataError: An input does not exist, or no input holds an image.
        UsageError: An image is not below the root, or `null` without ``-``.
    """
    check_null(inputs, null=null)
    walk = FolderWalk()
    paths: set[str] = set()
    tops: set[str] = set()
    named_paths: list[str] = []
    for entry in inputs:
        for path, is_folder in _expand(entry, stdin, null, walk):
            absolute = os.path.abspath(path)
            member = split_member(absolute)
            tops.add(absolute if is_folder else os.path.dirname(member[0] if member else split_window(absolute)[0]))
            if is_folder:
                paths.update(walk.images(absolute))
            elif is_shard(absolute):
                paths.update(walk.members(absolute))
            else:
                paths.add(absolute)
                if entry.startswith("@") or os.path.lexists(entry) or entry == "-":  # a pattern has no order
                    named_paths.append(absolute)
    named = ", ".join(repr(entry) for entry in inputs)
    if not paths:
        note = f"; {walk.note()}" if walk.note() else ""
        suffixes = " ".join(image_suffixes())
        raise DataError(f"no image in {named} (looked for {suffixes}){note}; other files have to be named one by one")
    paths, window_notes = _with_windows(paths, window)
    top = root_folder(root, paths, tops)
    names, bad = relative_names(top, paths)
    bad += escaped_names(top, walk.bad_members)
    selected, notes = select_names(top, names, include, exclude)
    if not selected:
        reason = "; ".join(notes) if names else f"all {len(bad)} are left out, such as {bad[0][0]}: {bad[0][1]}"
        raise DataError(f"no usable image in {named}: {reason}")
    every_note = [walk.note(), *window_notes, *notes, *_suspect_notes(selected)]
    images = ImageList(Path(top), selected, bad, tuple(filter(None, every_note)))
    return replace(images, reordered=bool(named_paths) and named_paths != images.paths())


def check_input(entry: str) -> None:
    """Raise a `DataError` for an input that cannot exist; nothing is listed, and patterns are not looked into."""
    listed = entry.startswith("@")
    there = (
        os.path.lexists(entry)
        or (listed and os.path.lexists(entry[1:]))
        or split_member(entry)
        or split_window(entry)[1]
    )
    if not (entry == "-" or "\0" in entry or there or glob.has_magic(entry) or len(expand_braces(entry)) > 1):
        _ = read_path_list(entry[1:]) if listed else _expand(entry, None, False, FolderWalk())


def check_null(inputs: Sequence[str], *, null: bool) -> None:
    """Raise a `UsageError` for NUL-separated paths without ``-``: those in the pipe would be ignored."""
    if null and "-" not in inputs:
        raise UsageError("-0 separates paths on stdin, which is not read: name - as input, or leave -0 out")


def check_not_empty(inputs: Sequence[str]) -> None:
    """Raise a `DataError` if all inputs are folders without an image; each is listed up to its first image."""
    if all(map(os.path.isdir, inputs)) and not any(next(FolderWalk().images(os.path.abspath(i)), "") for i in inputs):
        find_images(inputs)


def _expand(entry: str, stdin: BinaryIO | None, null: bool, walk: FolderWalk) -> Iterable[tuple[str, bool]]:
    """Yield (path, is folder) for each path of one input."""
    if entry == "-":
        return _listed(listed_paths(stdin.read() if stdin is not None else b"", "-", null=null))
    if "\0" in entry:
        raise DataError(f"{entry!r} holds a NUL byte, which no path can")
    if os.path.lexists(entry):
        refuse_compressed(entry)
        return [(entry, _is_folder(entry))]
    if _is_part(entry):
        return [(entry, False)]
    if entry.startswith("@"):
        return _listed(read_path_list(entry[1:]))
    expanded = expand_braces(entry)
    if len(expanded) > 1:
        if missing := [path for path in expanded if not os.path.lexists(path)]:
            raise DataError(
                f"{len(missing):,} of {len(expanded):,} files of {entry!r} are missing, first {missing[0]!r}"
            )
        return [(path, _is_folder(path)) for path in expanded]
    matches = glob.glob(entry, recursive=True) if glob.has_magic(entry) else []
    if not matches:
        raise DataError(missing_input(entry))
    return _matched(matches, entry, walk)


def _is_part(path: str) -> bool:
    """Return whether a path leads to an image in an archive or to a window of a raster."""
    return bool(split_member(path) or split_window(path)[1])


def _with_windows(paths: set[str], side: int) -> tuple[set[str], list[str]]:
    """Replace large rasters by their windows, and describe that in a line, and those that stay whole in another."""
    found = {path: window_paths(path, side) for path in paths}
    windows = {path: parts for path, parts in found.items() if parts}
    whole = [path for path, parts in found.items() if parts is None]
    notes = []
    if windows:
        count, first = sum(map(len, windows.values())), os.path.basename(min(windows))
        rasters = first if len(windows) == 1 else f"{len(windows):,} rasters, such as {first},"
        verb = "is" if len(windows) == 1 else "are"
        notes.append(
            f"{rasters} {verb} read as {count:,} windows of {side or WINDOW} px (--window), each an image of its own"
        )
    if whole:
        notes.append(
            f"{counted(len(whole), 'file')} cannot be cut into windows, such as {os.path.basename(min(whole))}: read "
            "whole, since turned by an orientation tag or compressed as one piece"
        )
    return paths.difference(windows).union(*windows.values()), notes


def _is_folder(path: str) -> bool:
    """Return whether a path is a folder.

    Raises:
        DataError: It is a pipe, a socket or a device, on which reading could block.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False  # a broken link: reported with the other unreadable files
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise DataError(f"{path!r} is neither a file nor a folder; to read paths from a pipe use - or @{path}")
    return stat.S_ISDIR(mode)


def _matched(paths: list[str], pattern: str, walk: FolderWalk) -> Iterator[tuple[str, bool]]:
    """Yield (path, is folder) of glob matches; files without an image suffix only if the pattern has a suffix."""
    pattern_parts = {part.casefold() for part in pattern.split(os.sep)}
    suffix = os.path.splitext(pattern)[1]
    has_suffix = bool(suffix) and not glob.has_magic(suffix)
    for path in unique_real_paths(paths):
        system = next((part for part in path.split(os.sep) if part.casefold() in SYSTEM_FOLDERS - pattern_parts), "")
        if system:
            walk.system[system] = 1
        elif os.path.isdir(path):
            yield path.rstrip(os.sep) or os.sep, True
        elif os.path.exists(path) and not os.path.isfile(path):
            walk.special += 1
        elif has_suffix or is_shard(path) or walk.accepts(path):
            refuse_compressed(path)
            yield path, False


def _listed(paths: Iterator[str]) -> Iterator[tuple[str, bool]]:
    for path in paths:  # an image suffix saves the system call: a list can hold a million paths
        yield path, not path.lower().endswith(image_suffixes()) and _is_folder(path)


def missing_input(entry: str) -> str:
    """Return the error message for a path that does not exist, with the closest name beside it."""
    parent, last = os.path.split(entry.rstrip("/"))
    siblings = os.listdir(parent or ".") if os.path.isdir(parent or ".") else []
    near = difflib.get_close_matches(last, siblings, n=1)
    what = "nothing matches" if glob.has_magic(entry) else "no such file or folder:"
    hint = f"did you mean {os.path.join(parent, near[0])!r}?" if near else "check the path and the working directory"
    return f"{what} {entry!r}; {hint}"


def _suspect_notes(names: list[str]) -> Iterator[str]:
    """Yield notes on files that are probably masks, previews or second versions."""
    masks = mask_names(names)
    others = {name: image for name, image in version_names(names).items() if name not in masks}
    for kind, found in (("masks", masks), ("versions", others)):
        if found:
            name, image = next(iter(found.items()))
            yield (
                f"{len(found):,} of {len(names):,} images are named like {kind} of others ({name} of {image}); "
                "--exclude GLOB leaves files or folders out"
            )
    preview_folders = PREVIEW_FOLDERS | SYSTEM_FOLDERS
    previews = [name for name in names if not preview_folders.isdisjoint(name.casefold().split("/")[:-1])]
    if previews:
        yield f"{len(previews):,} images lie in folders of previews, such as {previews[0]}; --exclude leaves them out"
    twins = len(names) - len({os.path.splitext(name)[0] for name in names})
    if twins:
        yield f"{twins:,} images have the name of another one with another suffix; --exclude GLOB leaves one kind out"
