"""Where the files of these tests lie, and the table of what was tried and what was lost."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")

TRIED: Counter[str] = Counter()
"""How often each kind of fault was tried in this run. A loss fails its test."""


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of flushes to a real disk take minutes."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def tally() -> Callable[[str, int], None]:
    """Count what was tried and held."""

    def count(kind: str, tried: int) -> None:
        TRIED[kind] += tried

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED:
        terminalreporter.section("tried, and held")
        for kind, tried in TRIED.items():
            terminalreporter.write_line(f"{tried:6,}  {kind}")
