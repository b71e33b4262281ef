"""`classify` through real processes: the table's path on stdout, everything else on stderr."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import in_process, warm
from tests.tasks.test_evaluate import names, table, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "f.npy", 0.5, names(150))
    table(tmp_path / "few.csv", path=names(30), label=[name.split("/")[1] for name in names(30)])
    return tmp_path


def test_from_a_few_labels_to_a_table(folder: Path) -> None:
    done = warm("classify", "f.npy", "--labels", "few.csv", "--suggest", "5", cwd=folder)
    assert done.code == 0, done.err
    assert done.out == "predictions.csv\n"
    assert "mean recall" in done.err
    assert len((folder / "suggested.csv").read_text().splitlines()) == 6
    again = warm("classify", "f.npy", "--labels", "few.csv", cwd=folder)
    assert again.code == 2
    assert "predictions.csv already exists" in again.err


def test_json_and_the_plan(folder: Path) -> None:
    asked = ("classify", "f.npy", "--labels", "few.csv", "--json", "-q")
    planned = json.loads(warm(*asked, "--dry-run", cwd=folder).out)
    assert planned["labelled"] == {"crack": 10, "good": 10, "spot": 10}
    assert not (folder / "predictions.csv").exists()
    found = json.loads(warm(*asked, "--precision", "0.6", "--save", "c.safetensors", cwd=folder).out)
    assert found["schema"] == 1
    assert 0 < found["threshold"] < 1
    assert [one["name"] for one in found["classes"]] == ["crack", "good", "spot"]
    later = warm("classify", "f.npy", "--classifier", "c.safetensors", "--out", "n.csv", "--json", "-q", cwd=folder)
    assert json.loads(later.out)["precision"] == 0.6


def test_errors_have_their_exit_codes(folder: Path) -> None:
    assert in_process("classify", "f.npy", cwd=folder).code == 2
    assert in_process("classify", "f.npy", "--labels", "none.csv", cwd=folder).code == 3
    assert in_process("classify", "f.npy", "--classifier", "few.csv", cwd=folder).code == 4
