"""How many bytes may be taken: the user's limit, free memory (of the container too) and free disk."""

import re
import shutil
from pathlib import Path

from dinocli.errors import UsageError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SHARE = 2  # never more than a half: the rest of the machine, and the training itself, need room too

_PROC = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def parse_bytes(spec: str) -> int:
    """Turn ``8G``, ``500M`` or ``1.5T`` (powers of 1024) into bytes; `UsageError` otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:I?B)?", spec.strip().upper())
    if match is None:
        raise UsageError(f"--cache {spec!r} is not known; use auto, off or the most bytes, such as 8G")
    return int(float(match[1]) * _UNITS[match[2]])


def memory_room() -> int:
    """Return half the memory that is free, in bytes; 0 where it cannot be known.

    Inside a container the machine's free memory is not ours to take: the container's own limit ends the process.
    """
    free = re.search(r"MemAvailable:\s+(\d+) kB", _PROC.read_text()) if _PROC.exists() else None
    if free is None:
        return 0
    return max(0, min([int(free[1]) * 1024, *_container_room()])) // _SHARE


def disk_room(folder: Path) -> int:
    """Return half the bytes that are free where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free // _SHARE


def _container_room() -> list[int]:
    """Return what the memory controller leaves, for its first and second version, where there is one.

    Pages of files count as used there, but are given back when needed.
    """
    layouts = (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    )
    rooms = []
    for most, used, files in layouts:
        try:
            stat = (_GROUP / used).with_name("memory.stat").read_text()
            limit, taken = (_GROUP / most).read_text().strip(), int((_GROUP / used).read_text())
        except (OSError, ValueError):
            continue
        given_back = re.search(rf"^{files} (\d+)$", stat, re.MULTILINE)
        if limit.isdigit():
            rooms.append(int(limit) - taken + (int(given_back[1]) if given_back else 0))
    return rooms
