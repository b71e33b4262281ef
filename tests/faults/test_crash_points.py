"""A process dies right before any of its file operations: what is there is the old result or the new one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.crash import WORKS
from tests.forks import environment


@pytest.mark.parametrize("work", WORKS)
def test_killed_at_every_file_operation(work: str, quick_path: Path) -> None:
    (quick_path / "new").mkdir()
    (quick_path / "old").mkdir()
    folder = quick_path if work != "one-file" else quick_path / "old"
    command = [sys.executable, "-m", "tests.faults.crash", work, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= (2 if work == "one-file" else 20)
