"""`--include` and `--exclude`: shell patterns for names of images.

A pattern without a slash is compared with each folder and file name, one with a slash with the path or the end of it.
"""

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase


def select_names(
    root: str, names: list[str], include: Sequence[str], exclude: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Select names by patterns.

    Args:
        root: Folder of the names: a pattern with a slash that fits no name is compared with whole paths.
        names: As `./a/b.png`.
        include: Patterns; empty takes all names.
        exclude: Patterns of names to leave out.

    Returns:
        The names that are left, and what the patterns did.
    """
    notes: list[str] = []
    for option, patterns in (("--include", include), ("--exclude", exclude)):
        if not patterns:
            continue
        hits = {pattern: _matching(root, names, pattern) for pattern in patterns}
        notes += [f"{option} {pattern!r} matches no image" for pattern, hit in hits.items() if not hit]
        matched = set().union(*hits.values())
        kept = [name for name in names if (name in matched) == (option == "--include")]
        notes.append(f"{option} leaves {len(kept):,} of {len(names):,} images")
        names = kept
    return names, notes


def _matching(root: str, names: list[str], pattern: str) -> set[str]:
    """Return the names that fit a pattern, or else those whose whole path does."""
    fitting = {name for name in names if _fits(name[2:], pattern)}
    if fitting or "/" not in pattern:
        return fitting
    return {name for name in names if _fits(os.path.join(root, name[2:]).lstrip("/"), pattern)}


def _fits(path: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("./").strip("/")
    parts = path.split("/")
    if "/" not in pattern:
        return any(fnmatchcase(part, pattern) for part in parts)
    ends = ["/".join(parts[first:]) for first in range(len(parts))]
    return any(fnmatchcase(end, pattern) or fnmatchcase(end, f"{pattern}/*") for end in ends)
