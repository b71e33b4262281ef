"""Memory budget in bytes: the user's limit, free memory (of the container and the process too) and free disk."""

import re
import resource
import shutil
from pathlib import Path

from dinocli.errors import UsageError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SHARE = 2  # never more than a half: the rest of the machine, and the training itself, need room too

_PROC = Path("/proc/meminfo")
_OWN = Path("/proc/self/status")
_GROUP = Path("/sys/fs/cgroup")


def parse_bytes(spec: str) -> int:
    """Turn ``8G``, ``500M`` or ``1.5T`` (powers of 1024) into bytes; `UsageError` otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:I?B)?", spec.strip().upper())
    if match is None:
        raise UsageError(f"--cache {spec!r} is not known; use auto, off or the most bytes, such as 8G")
    return int(float(match[1]) * _UNITS[match[2]])


def free_memory() -> int:
    """Return the memory that can still be taken, in bytes; 0 where it cannot be known.

    Inside a container the machine's free memory is not ours to take: the container's own limit ends the process. So
    does a limit of the address space (``ulimit -v``), in libraries that know no way out.
    """
    free = re.search(r"MemAvailable:\s+(\d+) kB", _PROC.read_text()) if _PROC.exists() else None
    if free is None:
        return 0
    return max(0, min([int(free[1]) * 1024, *_container_limits(), *_own_limit()]))


def memory_budget() -> int:
    """Return half of `free_memory`."""
    return free_memory() // _SHARE


def disk_budget(folder: Path) -> int:
    """Return half the bytes that are free where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free // _SHARE


def _own_limit() -> list[int]:
    """Return what the limit of this process's address space leaves, if there is one."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    taken = re.search(r"VmSize:\s+(\d+) kB", _OWN.read_text()) if _OWN.exists() else None
    return [] if limit == resource.RLIM_INFINITY or taken is None else [limit - int(taken[1]) * 1024]


def _container_limits() -> list[int]:
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
