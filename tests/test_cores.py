"""Usable and free cores, and the thread limits that follow."""

import subprocess
import sys
from pathlib import Path

import pytest

from dinocli import cores


def machine(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    own: int,
    load: float,
    quota: str = "",
    every: int = 16,
    running: str = "99/200",
) -> None:
    """Simulate a machine of 16 cores with a CPU affinity (`own`), a load average and running tasks."""
    monkeypatch.setattr(cores, "LOAD_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(cores, "LOADAVG", tmp_path / "loadavg")
    (tmp_path / "loadavg").write_text(f"{load} 99.0 99.0 {running} 4711\n")
    monkeypatch.setattr("os.cpu_count", lambda: every)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(own)), raising=False)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 99.0, 99.0))
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    if quota:
        (tmp_path / "cpu.max").write_text(quota)


@pytest.mark.parametrize(
    ("own", "quota", "load", "usable", "free"),
    [
        (16, "", 0.5, 16, 16),
        (16, "max 100000\n", 3.9, 16, 16),  # a quarter may be our own start
        (16, "", 8.0, 16, 8),
        (16, "", 40.0, 16, 1),
        (4, "", 8.0, 4, 2),
        (16, "250000 100000\n", 0.0, 2, 2),
        (16, "50000 100000\n", 0.0, 1, 1),
        (16, "nonsense", 0.0, 16, 16),
    ],
)
def test_affinity_quota_and_load_limit_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: int, quota: str, load: float, usable: int, free: int
) -> None:
    machine(monkeypatch, tmp_path, own=own, load=load, quota=quota)
    assert (cores.usable_cores(), cores.free_cores()) == (usable, free)


@pytest.mark.parametrize(
    ("running", "free"), [("1/200", 16), ("3/200", 16), ("9/200", 8), ("99/200", 1), ("nonsense", 1), ("", 1)]
)
def test_load_of_an_earlier_command_is_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, running: str, free: int
) -> None:
    machine(monkeypatch, tmp_path, own=16, load=16.0, running=running)
    assert cores.free_cores() == free


def test_cgroup_v1_quota_and_systems_without_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, own=16, load=0.0)
    (tmp_path / "cpu").mkdir()
    for name, value in (("quota", "300000"), ("period", "100000")):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(value)
    assert cores.usable_cores() == 3
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")  # no limit
    assert cores.usable_cores() == 16
    monkeypatch.delattr("os.sched_getaffinity")
    assert cores.usable_cores() == 16


@pytest.mark.parametrize(
    ("load", "own", "wanted"),
    [
        (0.0, 16, {}),
        (0.0, 4, {"OMP_NUM_THREADS": "4"}),
        (12.0, 16, {"OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "PASSIVE"}),
    ],
)
def test_openmp_variables_follow_the_free_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, load: float, own: int, wanted: dict[str, str]
) -> None:
    machine(monkeypatch, tmp_path, own=own, load=load)
    told: dict[str, str] = {}
    cores.limit_threads(told)
    assert {name: value for name, value in told.items() if name != cores.AUTO_THREADS} == wanted
    cores.split_threads(told, 2)
    assert told.get("OMP_NUM_THREADS") == (str(int(wanted["OMP_NUM_THREADS"]) // 2) if wanted else None)
    asked = {"OMP_NUM_THREADS": "3"}
    cores.limit_threads(asked)
    cores.split_threads(asked, 3)
    assert asked == {"OMP_NUM_THREADS": "3"}, "the user's own word counts"


def test_command_line_limits_threads_before_importing_torch() -> None:
    code = (
        "import os, sys; os.environ.pop('OMP_NUM_THREADS', None); os.cpu_count = lambda: 64\n"
        "os.getloadavg = lambda: (63.0, 0, 0); os.sched_getaffinity = lambda _: set(range(64))\n"
        "from pathlib import Path; import dinocli.cores; dinocli.cores.LOADAVG = Path('/none')\n"
        "from dinocli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules; print(os.environ['OMP_NUM_THREADS'], os.environ['OMP_WAIT_POLICY'])"
    )
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1 PASSIVE"
