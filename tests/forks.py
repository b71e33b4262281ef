"""Processes forked from one that has torch and the package loaded: an import takes seconds, a fork milliseconds.

Python's fork server, but not in an interpreter of its own, which would import everything once more: `serve` forks the
server from the process of pytest, before a test runs and while torch has no threads.
"""

import faulthandler
import importlib
import logging
import multiprocessing
import os
import pkgutil
import select
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch._dynamo  # noqa: F401 - by optimizers, in each child that trains

import dinocli

ROOT = Path(__file__).resolve().parents[1]
FORKS = multiprocessing.get_context("forkserver")
SPAWN = util.spawnv_passfds
LATE = ("sklearn.manifold", "torch.distributed", "torch.utils.serialization", "typer._adapters", "tests.warmed")
"""What commands import late, beside the modules of the package."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a plain environment: one thread, no network wanted, 80 columns, the package of this checkout."""
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME") if key in os.environ}
    ours = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    return {**inherited, **ours, **(more or {})}


@contextmanager
def reserved_port() -> Iterator[int]:
    """Return a port of this machine that no one else gets within the block, and at which processes can meet.

    As long as nobody listens, it can be bound a second time by those who ask for it and say SO_REUSEADDR, as the store
    of torch does; the kernel hands it out to no one.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("localhost", 0))
        yield held.getsockname()[1]


def serve() -> None:
    """Start the server of `FORKS`."""
    resource_tracker.ensure_running()
    with patch.object(util, "spawnv_passfds", _fork), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest-xdist has a thread, which holds nothing
        forkserver.ensure_running()


def _fork(_: str, arguments: Sequence[str], files: Sequence[int]) -> int:
    """Do in a fork what `python -c COMMAND`, the last argument, would do with these files open; return its id."""
    child = os.fork()
    if child:
        return child
    try:
        _leave_pytest(files)
        if files[0] in select.select(files, [], [])[0]:  # the listener: a process is wanted, and pytest has not ended
            _load_package()
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(arguments[-1], vars(main))
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)


def _load_package() -> None:
    """Import what the tests at hand have not imported, and commands would import late, each for itself."""
    modules = [module.name for module in pkgutil.walk_packages(dinocli.__path__, "dinocli.")]
    for name in (*modules, *LATE):
        if not name.endswith("__main__"):
            importlib.import_module(name)


def _leave_pytest(files: Sequence[int]) -> None:
    """Undo what pytest has done to its process: streams, hooks, warnings, environment, open files."""
    faulthandler.disable()
    logging.root.handlers.clear()
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    sys.unraisablehook, threading.excepthook = sys.__unraisablehook__, threading.__excepthook__
    plain = environment()
    os.environ.clear()
    os.environ.update(plain)
    for before, after in zip((2, *sorted(files)), (*sorted(files), 4096), strict=True):
        os.closerange(before + 1, after)
    util.spawnv_passfds = SPAWN
    vars(forkserver._forkserver)["_lock"] = threading.Lock()  # `serve` holds the other one just now
