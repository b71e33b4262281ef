"""What the user names -> a sorted list of images.

A million files are listed without asking the file system about each: a directory entry already tells a file from a
folder. So a listed name may still turn out to be unreadable; the reader finds that.
"""

import difflib
import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dinocli.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".pnm")


@dataclass(frozen=True)
class ImageList:
    """Images under one folder.

    Args:
        root: The folder that all names are relative to, absolute; of several inputs, the deepest one above all.
        names: Sorted, unique, written ``./a/b.png``: a name can then never look like an option or a formula.
        bad: Names that cannot be written on a line of their own, escaped, each with the reason.
    """

    root: Path
    names: list[str]
    bad: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, i: int) -> str:
        """Return what `open` takes for image ``i``."""
        return os.path.join(self.root, self.names[i][2:])

    def digest(self) -> str:
        """Hash names, sizes and modification times, but not contents: seconds for a million files, not hours.

        Returns:
            SHA-256 in hexadecimal. It does not depend on where the folder lies. A file that is gone counts as size -1.
        """
        sha = hashlib.sha256()
        for i, name in enumerate(self.names):
            try:
                stat = os.stat(self.path(i))
                size, time = stat.st_size, stat.st_mtime_ns
            except OSError:
                size, time = -1, 0
            sha.update(f"{name}\0{size}\0{time}\n".encode())
        return sha.hexdigest()


def find_images(inputs: Sequence[str], *, stdin: BinaryIO | None = None, null: bool = False) -> ImageList:
    """List the images that the inputs name.

    Args:
        inputs: Folders (with all below them; hidden entries and other suffixes are left out), files (whatever the
            suffix), globs, ``@list.txt`` (one path a line), ``-`` (the same on standard input). Listed paths are
            relative to the working directory, and with a known suffix they are believed to be files, unseen. What
            exists under exactly the given name is never taken as a glob.
        stdin: Bytes of standard input, for ``-``.
        null: Paths on standard input end with NUL, not with a line feed.

    Returns:
        The same list whatever the order of the inputs; an image named twice is there once.

    Raises:
        DataError: An input does not exist, or there is no image in any.
    """
    found: set[str] = set()
    tops: set[str] = set()
    for entry in inputs:
        for path, folder in _expand(entry, stdin, null):
            absolute = os.path.abspath(path)
            if folder:
                tops.add(absolute)
                found.update(_walk(absolute))
            else:
                tops.add(os.path.dirname(absolute))
                found.add(absolute)
    if not found:
        named = ", ".join(repr(entry) for entry in inputs)
        raise DataError(
            f"no image in {named} (looked for {' '.join(SUFFIXES)}); other files have to be named one by one"
        )
    return _named(os.path.commonpath(tops), found)


def _expand(entry: str, stdin: BinaryIO | None, null: bool) -> Iterable[tuple[str, bool]]:
    """Yield the paths behind one input, each with whether it is a folder."""
    if entry == "-":
        return _listed(stdin.read() if stdin is not None else b"", b"\0" if null else b"\n")
    if os.path.lexists(entry):
        return [(entry, os.path.isdir(entry))]
    if entry.startswith("@"):
        return _listed(_read_list(entry[1:]), b"\n")
    matches = glob.glob(entry, recursive=True) if glob.has_magic(entry) else []
    if not matches:
        raise DataError(_missing(entry))
    return [(path, os.path.isdir(path)) for path in matches]


def _read_list(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the list {path!r}: {(error.strerror or str(error)).lower()}") from error


def _listed(content: bytes, end: bytes) -> Iterator[tuple[str, bool]]:
    for line in content.split(end):
        path = os.fsdecode(line.rstrip(b"\r") if end == b"\n" else line)
        if path:  # a known suffix saves the system call: lists can be as long as a million
            yield path, not path.lower().endswith(SUFFIXES) and os.path.isdir(path)


def _missing(entry: str) -> str:
    parent, last = os.path.split(entry.rstrip("/"))
    siblings = os.listdir(parent or ".") if os.path.isdir(parent or ".") else []
    near = difflib.get_close_matches(last, siblings, n=1)
    what = "nothing matches" if glob.has_magic(entry) else "no such file or folder:"
    hint = f"did you mean {os.path.join(parent, near[0])!r}?" if near else "check the path and the working directory"
    return f"{what} {entry!r}; {hint}"


def _walk(top: str) -> Iterator[str]:
    """Yield the images below a folder.

    Symbolic links to folders are followed after all real folders, in sorted order: what lies inside twice is then found
    under its real name, and a loop ends at a folder that was already visited.
    """
    visited: set[tuple[int, int]] = set()
    links = [top]
    while links:
        later: list[str] = []
        for link in sorted(links):
            yield from _walk_real(link, visited, later)
        links = later


def _walk_real(top: str, visited: set[tuple[int, int]], links: list[str]) -> Iterator[str]:
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            stat = os.stat(folder)
            if (stat.st_dev, stat.st_ino) in visited:
                continue
            visited.add((stat.st_dev, stat.st_ino))
            with os.scandir(folder) as entries:
                shown = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise DataError(
                f"cannot list the folder {folder!r}: {reason}; make it readable or name the others"
            ) from error
        for entry in shown:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_symlink() and entry.is_dir():
                links.append(entry.path)
            elif entry.name.lower().endswith(SUFFIXES) and (entry.is_symlink() or entry.is_file()):
                yield entry.path  # a broken link too: it is then reported as unreadable, a device or pipe is not


def _named(root: str, paths: set[str]) -> ImageList:
    """Make names relative to the root, and set aside those that would break a list of one name a line."""
    cut = len(root.rstrip("/")) + 1
    names: list[str] = []
    bad: list[tuple[str, str]] = []
    for path in sorted(paths):
        name = "./" + path[cut:]
        if "\n" in name or "\r" in name:
            bad.append((name.encode("unicode_escape").decode(), "a line break in the name"))
        elif not name.isascii() and not _is_utf8(name):
            bad.append((os.fsencode(name).decode("utf-8", "backslashreplace"), "the name is not UTF-8"))
        else:
            names.append(name)
    return ImageList(Path(root), names, bad)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
