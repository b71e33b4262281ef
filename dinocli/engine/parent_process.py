"""End with the launcher: a process of `--gpus N` would go on, and hold its GPU, if the launcher were killed.

torch ends the processes that it has started, but forgets one that it is still starting when a signal comes.
"""

import ctypes
import os
import signal
import sys

LAUNCHER = "DINOCLI_LAUNCHER"
"""Environment variable with the number of the launching process."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_launcher() -> None:
    """Exit if the launcher has ended; on Linux, also get SIGTERM when it ends. Nothing without a launcher."""
    launcher = os.environ.get(LAUNCHER, "")
    if not launcher:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if str(os.getppid()) != launcher:
        sys.exit(128 + signal.SIGTERM)
