"""Usable and idle CPU cores, and the OpenMP settings that follow from them.

By default every process starts one thread per core, and idle threads spin: six dinocli processes on 16 cores processed
one image per second.
"""

import os
import time
from collections.abc import MutableMapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
LOADAVG = Path("/proc/loadavg")
AUTO_THREADS = "DINOCLI_THREADS"
"""Environment variable: the number of threads that `limit_threads` chose; unset if the user chose it."""

BUSY_FRACTION = 0.25
"""Fraction of all cores in use from which `free_cores` subtracts them: a lower load may be this process starting."""
LOAD_SAMPLES, LOAD_INTERVAL_SECONDS = 7, 0.002
"""Samples of the number of running tasks: on a busy machine every command waits for all of them, `--help` too."""


def usable_cores() -> int:
    """Return the number of cores that this process may use: its CPU affinity, capped by the quota of its container."""
    try:
        affinity = len(os.sched_getaffinity(0))
    except AttributeError:  # not available on macOS and Windows
        affinity = os.cpu_count() or 1
    quota = _quota(CGROUPS)
    return max(1, min(affinity, round(quota))) if quota else affinity


def free_cores() -> int:
    """Return the number of idle cores, at least 1, by the 1-minute load average and the tasks that run now.

    The 1-minute average alone would still count the previous command of a script.
    """
    usable, all_cores = usable_cores(), os.cpu_count() or 1
    try:
        load = os.getloadavg()[0]
    except OSError:
        return usable
    if load >= BUSY_FRACTION * all_cores:
        load = min(load, _running_now(load))
    busy = min(load / all_cores, 1.0)
    return usable if busy < BUSY_FRACTION else max(1, round(usable * (1.0 - busy)))


def limit_threads(environment: MutableMapping[str, str]) -> None:
    """Set OMP_NUM_THREADS to the free cores, unless the user has set it; call it before torch is imported.

    On a busy machine idle threads also sleep (OMP_WAIT_POLICY=PASSIVE). On a free one they spin, which is faster:
    augmentation consists of many small operations.

    Args:
        environment: `os.environ`.
    """
    if "OMP_NUM_THREADS" in environment:
        return
    free = free_cores()
    if free < (os.cpu_count() or 1):
        environment["OMP_NUM_THREADS"] = environment[AUTO_THREADS] = str(free)
    if free < usable_cores():
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def split_threads(environment: MutableMapping[str, str], processes: int) -> None:
    """Divide the threads that `limit_threads` chose evenly between several processes on this machine."""
    if AUTO_THREADS in environment:
        environment["OMP_NUM_THREADS"] = str(max(1, int(environment[AUTO_THREADS]) // processes))


def _running_now(default: float) -> float:
    """Return the number of other runnable tasks, the median of `LOAD_SAMPLES`; `default` without /proc/loadavg."""
    running = []
    for _ in range(LOAD_SAMPLES):
        try:
            running.append(int(LOADAVG.read_text().split()[3].split("/")[0]) - 1)  # one is this process
        except (OSError, ValueError, IndexError):
            return default
        time.sleep(LOAD_INTERVAL_SECONDS)
    return float(sorted(running)[LOAD_SAMPLES // 2])


def _quota(folder: Path) -> float:
    """Return the CPU quota of the control group (v2 or v1) in cores; 0 for no limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return max(float(quota) / float(period), 0.0) if quota != "max" else 0.0
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0
