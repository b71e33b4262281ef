"""Memory budgets on a machine and in a container."""

import resource
from pathlib import Path

import pytest

from dinocli.data import memory_budget as module
from dinocli.data.memory_budget import cache_limit, disk_budget, free_memory, memory_budget


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("0", 0),
        ("123", 123),
        ("2K", 2048),
        ("1.5m", 1_572_864),
        ("8G", 8 * 2**30),
        ("8GiB", 8 * 2**30),
        ("1TB", 2**40),
        ("off", None),
    ],
)
def test_byte_sizes_are_parsed(spec: str, expected: int | None) -> None:
    assert cache_limit(spec) == expected


def write(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)


def test_memory_budget_is_half_of_the_free_memory_of_machine_or_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(module, "_CGROUP", tmp_path / "group")
    assert memory_budget() == 0
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    1000 kB\n")
    assert memory_budget() == 512_000
    group = {"memory__max": "max\n", "memory__current": "700", "memory__stat": "file 9\ninactive_file 100\n"}
    write(tmp_path / "group", **group)
    assert memory_budget() == 512_000
    write(tmp_path / "group", memory__max="1000\n")
    assert memory_budget() == 200
    old = {"memory__limit_in_bytes": "900", "memory__usage_in_bytes": "800", "memory__stat": "total_inactive_file 0\n"}
    write(tmp_path / "group" / "memory", **old)
    assert memory_budget() == 50
    write(tmp_path / "group", memory__max="500")
    assert memory_budget() == 0


def test_disk_budget_of_a_missing_folder(tmp_path: Path) -> None:
    assert disk_budget(tmp_path / "a" / "b") > 0


def test_address_space_limit_caps_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_memory() > 10**8
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (taken + 10**8, taken + 10**8))
    assert 0.9e8 < free_memory() < 1.1e8
    monkeypatch.setattr(resource, "getrlimit", lambda _: (taken - 10**8, taken))
    assert free_memory() == 0
