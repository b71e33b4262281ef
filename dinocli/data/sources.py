"""Inputs as the user names them -> a sorted list of images.

A listed name may still turn out to be unreadable; the reader finds that.
"""

import difflib
import glob
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from dinocli.data.folder_walk import PREVIEW_FOLDERS, SYSTEM_FOLDERS, FolderWalk, unique_real_paths
from dinocli.data.image_formats import image_suffixes
from dinocli.data.mask_names import mask_names
from dinocli.data.name_patterns import select_names
from dinocli.data.path_list import listed_paths, read_path_list
from dinocli.data.tar_shards import expand_braces, is_shard, refuse_compressed, size_and_mtime, split_member
from dinocli.data.text_tables import is_utf8
from dinocli.errors import DataError, UsageError


@dataclass(frozen=True)
class ImageList:
    """Images under one folder.

    Args:
        root: The folder that all names are relative to, absolute: as named, else the input folder, of several
            inputs the deepest one above all.
        names: Sorted, unique, written ``./a/b.png``: a name can then never look like an option or a formula.
        bad: Names that cannot be written on a line of their own, escaped, each with the reason.
        notes: Sentences for the user: what was left out, and what may be no image.
    """

    root: Path
    names: list[str]
    bad: list[tuple[str, str]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def path(self, i: int) -> str:
        """Return what `open` takes for image ``i``."""
        return os.path.join(self.root, self.names[i][2:])

    def paths(self) -> list[str]:
        """Return what `open` takes for each image."""
        return [self.path(i) for i in range(len(self))]

    def spread(self, count: int) -> "ImageList":
        """Return evenly spread images, at most `count`, for a trial."""
        last, count = len(self) - 1, min(count, len(self))
        places = [round(number * last / max(1, count - 1)) for number in range(count)]
        return replace(self, names=[self.names[place] for place in places])

    def digest(self) -> str:
        """Hash names, sizes and modification times, but not contents: seconds for a million files, not hours.

        Returns:
            SHA-256 in hexadecimal. It does not depend on where the folder lies. A file that is gone counts as size -1.
        """
        sha = hashlib.sha256()
        for i, name in enumerate(self.names):
            try:
                size, time = size_and_mtime(self.path(i))
            except OSError:
                size, time = -1, 0
            sha.update(f"{name}\0{size}\0{time}\n".encode())
        return sha.hexdigest()


def find_images(
    inputs: Sequence[str],
    *,
    stdin: BinaryIO | None = None,
    null: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    root: str = "",
) -> ImageList:
    """List the images that the inputs name.

    Args:
        inputs: Folders (see `FolderWalk`), files (whatever the ending), tar shards (see `TarShard`; ``{000..012}.tar``
            names several), globs, ``@list.txt`` or ``@list.csv`` (see `read_path_list`), ``-`` (paths on standard
            input). Listed paths are relative to the working directory, and with a known ending they are believed to be
            files, unseen. What exists under exactly the given name is never taken as a glob.
        stdin: Bytes of standard input, for ``-``.
        null: Paths on standard input end with NUL, not with a line feed.
        include: Patterns; an image that matches none of them is left out. Empty takes all.
        exclude: Patterns; an image that matches one of them is left out. A pattern without a slash is compared with
            each folder and file name of an image (``masks``, ``*_mask.png``), one with a slash with its path or the
            end of it (``b/masks``).
        root: Folder that names are relative to; empty takes the input folder, of several the deepest one above all.

    Returns:
        The same list whatever the order of the inputs; an image named twice is there once.

    Raises:
        DataError: An input does not exist, or there is no image in any.
        UsageError: An image does not lie below the root.
    """
    walk = FolderWalk()
    found: set[str] = set()
    tops: set[str] = set()
    for entry in inputs:
        for path, folder in _expand(entry, stdin, null, walk):
            absolute = os.path.abspath(path)
            inside = split_member(absolute)
            tops.add(absolute if folder else os.path.dirname(inside[0] if inside else absolute))
            if folder:
                found.update(walk.images(absolute))
            else:
                found.update(walk.members(absolute) if is_shard(absolute) else [absolute])
    named = ", ".join(repr(entry) for entry in inputs)
    if not found:
        left = f"; {walk.note()}" if walk.note() else ""
        endings = " ".join(image_suffixes())
        raise DataError(f"no image in {named} (looked for {endings}){left}; other files have to be named one by one")
    top = _root(root, found, tops)
    names, bad = _names(top, found)
    bad += _names_of_bad(top, walk.bad_members)
    kept, notes = select_names(top, names, include, exclude)
    if not kept:
        why = "; ".join(notes) if names else f"all {len(bad)} are left out, such as {bad[0][0]}: {bad[0][1]}"
        raise DataError(f"no usable image in {named}: {why}")
    return ImageList(Path(top), kept, bad, tuple(filter(None, [walk.note(), *notes, *_doubts(kept)])))


def check_input(entry: str) -> None:
    """Raise a `DataError` for an input that cannot exist; nothing is listed, and patterns are not looked into."""
    listed = entry.startswith("@")
    there = os.path.lexists(entry) or (listed and os.path.lexists(entry[1:])) or split_member(entry)
    if not (entry == "-" or "\0" in entry or there or glob.has_magic(entry) or len(expand_braces(entry)) > 1):
        _ = read_path_list(entry[1:]) if listed else _expand(entry, None, False, FolderWalk())


def _expand(entry: str, stdin: BinaryIO | None, null: bool, walk: FolderWalk) -> Iterable[tuple[str, bool]]:
    """Yield the paths behind one input, each with whether it is a folder."""
    if entry == "-":
        return _listed(listed_paths(stdin.read() if stdin is not None else b"", "-", null=null))
    if "\0" in entry:
        raise DataError(f"{entry!r} holds a NUL byte, which no path can")
    if os.path.lexists(entry):
        refuse_compressed(entry)
        return [(entry, _is_folder(entry))]
    if split_member(entry):
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
        raise DataError(_missing(entry))
    return _matched(matches, entry, walk)


def _is_folder(path: str) -> bool:
    """Return whether a path is a folder.

    Raises:
        DataError: It is a pipe, a socket or a device, which would be waited for.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False  # a broken link: reported with the other unreadable files
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise DataError(f"{path!r} is neither a file nor a folder; to read paths from a pipe use - or @{path}")
    return stat.S_ISDIR(mode)


def _matched(paths: list[str], pattern: str, walk: FolderWalk) -> Iterator[tuple[str, bool]]:
    """Yield what a glob matched: as in a folder, other endings are left out unless the pattern names its own."""
    own = {part.casefold() for part in pattern.split(os.sep)}
    ending = os.path.splitext(pattern)[1]
    explicit = bool(ending) and not glob.has_magic(ending)
    for path in unique_real_paths(paths):
        system = next((part for part in path.split(os.sep) if part.casefold() in SYSTEM_FOLDERS - own), "")
        if system:
            walk.system[system] = 1
        elif os.path.isdir(path):
            yield path.rstrip(os.sep) or os.sep, True
        elif os.path.exists(path) and not os.path.isfile(path):
            walk.special += 1
        elif explicit or is_shard(path) or walk.accepts(path):
            refuse_compressed(path)
            yield path, False


def _listed(paths: Iterator[str]) -> Iterator[tuple[str, bool]]:
    for path in paths:  # a known ending saves the system call: lists can be as long as a million
        yield path, not path.lower().endswith(image_suffixes()) and _is_folder(path)


def _missing(entry: str) -> str:
    parent, last = os.path.split(entry.rstrip("/"))
    siblings = os.listdir(parent or ".") if os.path.isdir(parent or ".") else []
    near = difflib.get_close_matches(last, siblings, n=1)
    what = "nothing matches" if glob.has_magic(entry) else "no such file or folder:"
    hint = f"did you mean {os.path.join(parent, near[0])!r}?" if near else "check the path and the working directory"
    return f"{what} {entry!r}; {hint}"


def _root(asked: str, found: set[str], tops: set[str]) -> str:
    """Return the folder that names are relative to."""
    root = os.path.abspath(asked) if asked else os.path.commonpath(tops)
    if asked and not os.path.isdir(root):
        raise UsageError(f"--root {asked}: no such folder; name one above all images")
    outside = min((path for path in found if not path.startswith(root.rstrip("/") + "/")), default="")
    if outside:
        raise UsageError(f"--root {asked} is not above {outside}; name a folder above all images")
    if not is_utf8(root):
        readable = os.fsencode(root).decode("utf-8", "backslashreplace")
        raise DataError(f"the name of the folder {readable} is not UTF-8, so no result can name it; rename it")
    return root


def _names(root: str, paths: set[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Make names relative to the root, and set aside those that would break a list of one name a line."""
    cut = len(root.rstrip("/")) + 1
    names: list[str] = []
    bad: list[tuple[str, str]] = []
    for path in sorted(paths):
        name = "./" + path[cut:]
        if "\n" in name or "\r" in name:
            bad.append((name.encode("unicode_escape", "surrogateescape").decode(), "a line break in the name"))
        elif not is_utf8(name):
            bad.append((os.fsencode(name).decode("utf-8", "backslashreplace"), "the name is not UTF-8"))
        else:
            names.append(name)
    return names, bad


def _names_of_bad(root: str, paths: list[tuple[str, str]]) -> list[tuple[str, str]]:
    cut = len(root.rstrip("/")) + 1
    named = (("./" + path[cut:].rstrip("/"), reason) for path, reason in paths)
    return [(os.fsencode(name).decode("utf-8", "backslashreplace"), reason) for name, reason in named]


def _doubts(names: list[str]) -> Iterator[str]:
    """Yield notes on images that are likely to be something else."""
    masks = mask_names(names)
    if masks:
        mask, image = next(iter(masks.items()))
        yield (
            f"{len(masks):,} of {len(names):,} images are named like masks of others ({mask} of {image}); "
            "--exclude GLOB leaves files or folders out"
        )
    odd = PREVIEW_FOLDERS | SYSTEM_FOLDERS
    previews = [name for name in names if not odd.isdisjoint(name.casefold().split("/")[:-1])]
    if previews:
        yield f"{len(previews):,} images lie in folders of previews, such as {previews[0]}; --exclude leaves them out"
    twins = len(names) - len({os.path.splitext(name)[0] for name in names})
    if twins:
        yield f"{twins:,} images have the name of another one with another ending; --exclude GLOB leaves one kind out"
