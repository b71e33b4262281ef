"""`compare` through real processes: the table on stdout, notes on stderr."""

import json
from pathlib import Path

from tests.cli.commands import in_process, warm
from tests.tasks.test_compare_runs import leave_run


def test_a_piped_table_and_json(tmp_path: Path) -> None:
    leave_run(tmp_path / "one", -2.5, "optim.lr=1e-4")
    leave_run(tmp_path / "two", -2.0, "optim.lr=1e-3")
    done = warm("compare", "one", "two", "--report", "page.html", cwd=tmp_path)
    assert done.code == 0, done.err
    head, *rows = [line.split("\t") for line in done.out.splitlines()]
    assert [dict(zip(head, row, strict=True))["crop_quadrant_retrieval_adapted"] for row in rows] == ["-2.5", "-2"]
    assert "optim.lr: 0.0001 (one), 0.001 (two)" in done.err
    assert (tmp_path / "page.html").is_file()
    data = json.loads(warm("compare", "one", "two", "--json", "-q", cwd=tmp_path).out)
    assert data["schema"] == 1
    assert [run["run"] for run in data["runs"]] == ["one", "two"]
    assert in_process("compare", "none", cwd=tmp_path).code == 4
    assert in_process("compare", "one", "two", "--report", "page.html", cwd=tmp_path).code == 2
