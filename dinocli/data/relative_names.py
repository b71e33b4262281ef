"""Names of images: relative to one root folder, one line of UTF-8 each."""

import os

from dinocli.data.text_tables import is_utf8
from dinocli.errors import DataError, UsageError


def root_folder(requested: str, paths: set[str], tops: set[str]) -> str:
    """Return the folder that names are relative to.

    Args:
        requested: Folder that the user named; empty for the deepest common parent.
        paths: Absolute paths of the images.
        tops: Absolute paths of the input folders, and of the folders of single files.

    Raises:
        UsageError: The requested folder does not exist or is not above all images.
        DataError: Its name is not UTF-8.
    """
    root = os.path.abspath(requested) if requested else os.path.commonpath(tops)
    if requested and not os.path.isdir(root):
        raise UsageError(f"--root {requested}: no such folder; name one above all images")
    outside = min((path for path in paths if not path.startswith(root.rstrip("/") + "/")), default="")
    if outside:
        raise UsageError(f"--root {requested} is not above {outside}; name a folder above all images")
    if not is_utf8(root):
        readable = os.fsencode(root).decode("utf-8", "backslashreplace")
        raise DataError(f"the name of the folder {readable} is not UTF-8, so no result can name it; rename it")
    return root


def relative_names(root: str, paths: set[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return names relative to the root, and (escaped name, reason) of those that do not fit on one line of UTF-8."""
    prefix = len(root.rstrip("/")) + 1
    names: list[str] = []
    bad: list[tuple[str, str]] = []
    for path in sorted(paths):
        name = "./" + path[prefix:]
        if "\n" in name or "\r" in name:
            bad.append((name.encode("unicode_escape", "surrogateescape").decode(), "a line break in the name"))
        elif not is_utf8(name):
            bad.append((os.fsencode(name).decode("utf-8", "backslashreplace"), "the name is not UTF-8"))
        else:
            names.append(name)
    return names, bad


def escaped_names(root: str, paths: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (name relative to the root, reason) of unreadable images by path; bytes that are not UTF-8 are escaped."""
    prefix = len(root.rstrip("/")) + 1
    named = (("./" + path[prefix:].rstrip("/"), reason) for path, reason in paths)
    return [(os.fsencode(name).decode("utf-8", "backslashreplace"), reason) for name, reason in named]
