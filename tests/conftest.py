import gc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FIRST = ("tasks/train", "tasks/test_resume", "cli", "faults", "test_install", "tasks", "report", "device", "models")
"""Where the long files are, the longest first."""
FORKING = (
    "cli/",
    "faults/",
    "tasks/test_resume",
    "tasks/search/",
    "tasks/train/test_distill",
    "artifacts/test_pa",
    "engine/test_device",
    "test_forks",
    "test_readme",
)
"""Where tests start processes of `tests.forks`."""


@pytest.fixture(scope="session", autouse=True)
def own_cache_and_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded images out of the user's cache, and `runs/latest` out of the checkout, also in child processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("checkout"))
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist hand out files in our order: its own puts long files, which hold few tests, last.

    Its controller runs no test, and need not spend seconds on loading torch while its workers wait.
    """
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        _prepare_torch()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole files, and those that fork to one of two workers: its server loads torch for ten seconds."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    servers = max(1, len(config.option.tx) // 2)

    class ServerScheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            forks = file.partition("tests/")[2].startswith(FORKING)
            return f"forks {zlib.crc32(file.encode()) % servers}" if forks else file

    return ServerScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with long files, so that several processes end together."""
    items.sort(key=lambda item: _place(item.path))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: the packages and all tests."""
    gc.collect()
    gc.freeze()


def _prepare_torch() -> None:
    import torch

    from tests.device.pretend import pretend_device

    pretend_device()  # autograd counts the kinds of devices at the first backward pass of a process, and never again
    torch.set_num_threads(1)  # nets this small lose more by waiting for other threads than they gain


def _place(path: Path) -> int:
    here = Path(__file__).parent
    name = path.relative_to(here).as_posix() if path.is_relative_to(here) else ""
    return next((place for place, first in enumerate(FIRST) if name.startswith(first)), len(FIRST))
