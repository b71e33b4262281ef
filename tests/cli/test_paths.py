"""Missing paths are refused in about a second, before libraries load."""

import json
import subprocess
import sys
from pathlib import Path

from tests.forks import environment

ASK = """
import json, sys
from typer.testing import CliRunner
from dinocli.cli.app import app
answers = []
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, words)
    answers.append([done.exit_code, done.stderr, "torch" in sys.modules])
    assert done.stdout == ""
print(json.dumps(answers))
"""

CASES = {
    "evaluate missing.npy": (4, "no such feature file: missing.npy"),
    "evaluate images --baseline missing.npy": (4, "no such feature file: missing.npy"),
    "evaluate images --baseline ./missing.pth": (4, "no such weights file or folder: ./missing.pth"),
    "evaluate images --labels missing.csv": (3, "missing.csv"),
    "cluster missing.npy": (4, "no such feature file: missing.npy"),
    "cluster imagse": (3, "did you mean 'images'?"),
    "classify images --labels missing.csv": (3, "missing.csv"),
    "search images --in missing.npy": (4, "no such feature file: missing.npy"),
    "segment missing --out masks": (3, "no such file or folder: 'missing'"),
    "embed missing --out f.npy": (3, "no such file or folder: 'missing'"),
    "embed @missing.txt --out f.npy": (3, "cannot read the list 'missing.txt'"),
    "embed images --out f.npy --like missing.npy": (4, "no such feature file: missing.npy"),
    "embed images --out f.npy --weights runs/missing": (4, "no such weights file or folder: runs/missing"),
    "pretrain missing": (3, "no such file or folder: 'missing'"),
    "pretrain images --weights ./missing": (4, "no such weights file or folder: ./missing"),
    "pretrain images --teacher ./missing": (4, "no such weights file or folder: ./missing"),
    "pretrain images --labels missing.csv": (3, "missing.csv"),
    "export ./missing --out x": (4, "no such weights file or folder: ./missing"),
}


def test_missing_paths_are_refused_before_libraries_load(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    command = [sys.executable, "-c", ASK, json.dumps([case.split() for case in CASES])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert len(answers) == len(CASES)
    for (case, (code, words)), (given, error, torch) in zip(CASES.items(), answers, strict=True):
        assert (given, error.count("\n")) == (code, 1), f"{case}: {error}"
        assert error.startswith("dinocli: ")
        assert words in error, case
        assert not torch, case
