"""A process is killed before each of its file operations: the complete old or new result is left."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.crash import TASKS
from tests.forks import environment


@pytest.mark.parametrize("task", TASKS)
def test_kill_before_each_file_operation_leaves_the_old_or_new_result(task: str, quick_path: Path) -> None:
    (quick_path / "new").mkdir()
    (quick_path / "old").mkdir()
    folder = quick_path if task != "one-file" else quick_path / "old"
    command = [sys.executable, "-m", "tests.faults.crash", task, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= (2 if task == "one-file" else 20)
