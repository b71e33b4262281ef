"""Memory and disk budgets in bytes, within the limits of the container and of the process."""

import re
import resource
import shutil
from pathlib import Path

from dinocli.errors import UsageError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_DIVISOR = 2  # use half of the free bytes: training and other processes need the rest

_MEMINFO = Path("/proc/meminfo")
_PROCESS_STATUS = Path("/proc/self/status")
_CGROUP = Path("/sys/fs/cgroup")


def cache_limit(spec: str) -> int | None:
    """Parse ``--cache``: ``8G``, ``500M`` or ``1.5T`` (powers of 1024) as bytes; ``auto`` and ``off`` as None.

    Raises:
        UsageError: The value is none of these.
    """
    if spec in ("auto", "off"):
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:I?B)?", spec.strip().upper())
    if match is None:
        raise UsageError(f"--cache {spec!r} is not known; use auto, off or the most bytes, such as 8G")
    return int(float(match[1]) * _UNITS[match[2]])


def free_memory() -> int:
    """Return the available memory in bytes; 0 if it is unknown.

    The minimum of the machine's available memory, the memory limit of the container, beyond which the process is
    killed, and the address-space limit (``ulimit -v``), beyond which some libraries crash.
    """
    available = re.search(r"MemAvailable:\s+(\d+) kB", _MEMINFO.read_text()) if _MEMINFO.exists() else None
    if available is None:
        return 0
    return max(0, min([int(available[1]) * 1024, *_container_limits(), *_address_space_limit()]))


def memory_budget() -> int:
    """Return half of `free_memory`."""
    return free_memory() // _DIVISOR


def disk_budget(folder: Path) -> int:
    """Return half of the free bytes on the disk of a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free // _DIVISOR


def _address_space_limit() -> list[int]:
    """Return the bytes left of this process's address-space limit; empty without a limit."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = re.search(r"VmSize:\s+(\d+) kB", _PROCESS_STATUS.read_text()) if _PROCESS_STATUS.exists() else None
    return [] if limit == resource.RLIM_INFINITY or used is None else [limit - int(used[1]) * 1024]


def _container_limits() -> list[int]:
    """Return the bytes left of the control group's memory limit (v2, v1); empty without a limit.

    Inactive file pages count as free: the kernel reclaims them when memory is needed.
    """
    layouts = (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    )
    free = []
    for limit_file, usage_file, reclaimable_key in layouts:
        try:
            stat = (_CGROUP / usage_file).with_name("memory.stat").read_text()
            limit, used = (_CGROUP / limit_file).read_text().strip(), int((_CGROUP / usage_file).read_text())
        except (OSError, ValueError):
            continue
        reclaimable = re.search(rf"^{reclaimable_key} (\d+)$", stat, re.MULTILINE)
        if limit.isdigit():
            free.append(int(limit) - used + (int(reclaimable[1]) if reclaimable else 0))
    return free
