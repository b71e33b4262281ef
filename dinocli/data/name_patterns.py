"""Select images by shell patterns on their names (`--include`, `--exclude`).

A pattern without a slash is matched with each folder and file name, one with a slash with the path and its ends.
"""

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase


def select_names(
    root: str, names: list[str], include: Sequence[str], exclude: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Select names by patterns.

    Args:
        root: Folder of the names; a pattern with a slash that matches no name is matched with absolute paths.
        names: Image names, written `./a/b.png`.
        include: Patterns of names to keep; empty keeps all.
        exclude: Patterns of names to remove.

    Returns:
        The selected names, and sentences on the effect of each pattern.
    """
    notes: list[str] = []
    for option, patterns in (("--include", include), ("--exclude", exclude)):
        if not patterns:
            continue
        matches = {pattern: _matching(root, names, pattern) for pattern in patterns}
        notes += [f"{option} {pattern!r} matches no image" for pattern, matched in matches.items() if not matched]
        matched = set().union(*matches.values())
        selected = [name for name in names if (name in matched) == (option == "--include")]
        notes.append(f"{option} leaves {len(selected):,} of {len(names):,} images")
        names = selected
    return names, notes


def _matching(root: str, names: list[str], pattern: str) -> set[str]:
    """Return the names that match a pattern; if there are none, those whose absolute path matches."""
    matching = {name for name in names if _matches(name[2:], pattern)}
    if matching or "/" not in pattern:
        return matching
    return {name for name in names if _matches(os.path.join(root, name[2:]).lstrip("/"), pattern)}


def _matches(path: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("./").strip("/")
    parts = path.split("/")
    if "/" not in pattern:
        return any(fnmatchcase(part, pattern) for part in parts)
    ends = ["/".join(parts[first:]) for first in range(len(parts))]
    return any(fnmatchcase(end, pattern) or fnmatchcase(end, f"{pattern}/*") for end in ends)
