"""How many cores are free, and the settings of numeric libraries that follow, made before they are loaded.

By default each process takes every core, and its idle threads spin: six of ours on 16 cores ran at an image a second.
"""

import os
import time
from collections.abc import MutableMapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
LOAD = Path("/proc/loadavg")
OURS = "DINOCLI_THREADS"
"""Notes that the number of threads was not the user's choice."""

BUSY = 0.25
"""Share of the machine that others have to use before its threads are left to them: below, it may be our own start."""
MOMENTS, MOMENT = 7, 0.002
"""Looks at the running tasks, and seconds between them: every command waits for them on a busy machine, help too."""


def usable_cores() -> int:
    """Return the cores that this process may use: its affinity, within the quota of its container."""
    try:
        own = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have none
        own = os.cpu_count() or 1
    quota = _quota(CGROUPS)
    return max(1, min(own, round(quota))) if quota else own


def free_cores() -> int:
    """Return how many cores are idle, by the load of the last minute and of this moment; at least 1.

    The load of the last minute alone would be that of the command before this one in a script.
    """
    usable, all_cores = usable_cores(), os.cpu_count() or 1
    try:
        load = os.getloadavg()[0]
    except OSError:
        return usable
    if load >= BUSY * all_cores:
        load = min(load, _running_now(load))
    busy = min(load / all_cores, 1.0)
    return usable if busy < BUSY else max(1, round(usable * (1.0 - busy)))


def settle_threads(environment: MutableMapping[str, str]) -> None:
    """Tell OpenMP how many threads to take, unless the user has: call it before torch is loaded.

    OMP_NUM_THREADS is the one option. On a busy machine threads also wait asleep; on a free one spinning is faster,
    since views are made of many small operations.

    Args:
        environment: `os.environ`.
    """
    if "OMP_NUM_THREADS" in environment:
        return
    free = free_cores()
    if free < (os.cpu_count() or 1):
        environment["OMP_NUM_THREADS"] = environment[OURS] = str(free)
    if free < usable_cores():
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def share_threads(environment: MutableMapping[str, str], processes: int) -> None:
    """Cut what `settle_threads` found into equal parts for several processes of this machine."""
    if OURS in environment:
        environment["OMP_NUM_THREADS"] = str(max(1, int(environment[OURS]) // processes))


def _running_now(unknown: float) -> float:
    """Return how many other tasks run or wait for a core, the median of some moments; `unknown` where Linux is not."""
    running = []
    for _ in range(MOMENTS):
        try:
            running.append(int(LOAD.read_text().split()[3].split("/")[0]) - 1)  # one is this process
        except (OSError, ValueError, IndexError):
            return unknown
        time.sleep(MOMENT)
    return float(sorted(running)[MOMENTS // 2])


def _quota(folder: Path) -> float:
    """Return the cores that a control group allows, version 2 or 1; 0 for no limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return max(float(quota) / float(period), 0.0) if quota != "max" else 0.0
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0
