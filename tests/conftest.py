import gc
import os
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

FIRST = (
    *("tasks/train/test_train", "tasks/train/test_distill", "tasks/test_resume", "cli", "faults", "tasks"),
    *("test_install", "test_examples", "test_docs", "test_layers", "device", "engine", "models", "report"),
)
"""Where the long files are; the last ones that are handed out should be short."""

OTHERS = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "OMP_WAIT_POLICY", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""What somebody may have asked of other programs, and would change what these write."""


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist hand out files in our order: its own puts long files, which hold few tests, last.

    Its controller runs no test, and need not spend seconds on loading torch while its workers wait.
    """
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
    if _runs_tests(config):
        import torch

        torch.set_num_threads(1)  # nets this small lose more by waiting for other threads than they gain


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with long files, so that several processes end together."""
    items.sort(key=lambda item: _place(item.path))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: the packages and all tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Give the tests a cache, a working folder and a fork server of their own, also in child processes.

    Images decoded here stay out of the user's cache, and `runs/latest` out of the checkout.
    """
    if not _runs_tests(session.config):
        return (yield)
    with tempfile.TemporaryDirectory(prefix="dinocli-tests-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", f"{folder}/cache")
        for name in OTHERS:
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        patch.setattr(os, "fsync", lambda _: None)  # what tests kill is a process; the page cache outlives it
        if "tests.forks" in sys.modules:
            sys.modules["tests.forks"].serve()
        from tests.device.pretend import pretend_device

        pretend_device()  # autograd counts the kinds of devices at the first backward pass, and never again
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let every test draw the same numbers, whichever tests this process has run before."""
    import torch

    torch.manual_seed(0)


def _runs_tests(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None)


def _place(path: Path) -> int:
    here = Path(__file__).parent
    name = path.relative_to(here).as_posix() if path.is_relative_to(here) else ""
    return next((place for place, first in enumerate(FIRST) if name.startswith(first)), len(FIRST))
