"""`export` of a run, through real processes."""

import json
from pathlib import Path

import timm

from tests.cli.commands import Result, warm


def test_a_run_is_exported_with_its_verdict(finished: Result, home: Path) -> None:
    done = warm("export", "--format", "timm", "--out", "kept", "--json", cwd=home)
    assert done.code == 0, done.err
    data = json.loads(done.out)
    card = Path(home, data["card"]).read_text()
    outcome = json.loads((Path(home) / finished.out.strip() / "run.json").read_text())["outcome"]
    assert outcome["verdict"]["outcome"].capitalize() in card
    assert "| score | start | adapted |" in card
    assert timm.create_model(f"local-dir:{home / 'kept'}", pretrained=True).num_features == 64
    assert "weights of" in done.err
    again = warm("export", "--format", "timm", "--out", "kept", cwd=home)
    assert (again.code, again.out) == (2, "")
