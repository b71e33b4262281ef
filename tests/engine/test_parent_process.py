import os
import signal
import subprocess
import sys

import pytest

from dinocli.engine.parent_process import LAUNCHER, end_with_launcher

CHILD = """
import signal, sys
from dinocli.engine.parent_process import end_with_launcher
signal.signal(signal.SIGTERM, lambda *_: sys.exit("told"))
end_with_launcher()
print("works", flush=True)
signal.pause()
"""
PARENT = f"""
import os, subprocess, sys
os.environ["{LAUNCHER}"] = str(os.getpid())
subprocess.Popen([sys.executable, "-c", {CHILD!r}]).wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process that its parent has ended")
def test_a_process_ends_when_its_launcher_is_killed() -> None:
    launcher = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert launcher.stdout
    assert launcher.stderr
    assert launcher.stdout.readline() == b"works\n"
    launcher.send_signal(signal.SIGKILL)
    assert launcher.stderr.read() == b"told\n"  # the end of the pipe, which the child holds too
    launcher.wait()
    launcher.stdout.close()
    launcher.stderr.close()


def test_a_process_whose_launcher_has_ended_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCHER, str(os.getpid()))
    monkeypatch.setattr("dinocli.engine.parent_process.ctypes.CDLL", lambda _: pytest.fail("asked") or None)
    monkeypatch.setattr("dinocli.engine.parent_process.sys.platform", "darwin")
    with pytest.raises(SystemExit) as ended:
        end_with_launcher()
    assert ended.value.code == 143


def test_without_a_launcher_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LAUNCHER, raising=False)
    monkeypatch.setattr("dinocli.engine.parent_process.ctypes.CDLL", lambda _: pytest.fail("asked"))
    end_with_launcher()
