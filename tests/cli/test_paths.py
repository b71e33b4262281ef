"""What needs no network is refused in about a second, before torch loads: missing paths, outputs that exist, no run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dinocli.cli.paths import with_home
from dinocli.cli.usage import emptied_option
from tests.forks import environment

ASK = """
import functools, json, sys
import typer.testing
from typer.testing import CliRunner
from dinocli.cli.app import app
sys.modules["mlflow"] = None  # not installed
typer.testing._get_command = functools.cache(typer.testing._get_command)
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
    "embed empty --out f.npy --weights none": (3, "no image in 'empty'"),
    "cluster empty --weights none": (3, "no image in 'empty'"),
    "pretrain empty": (3, "no image in 'empty'"),
    "embed images --out f.npy --root missing": (3, "no such file or folder: 'missing'"),
    "embed images --out f.npy --roi missing.png": (2, "no such mask"),
    "segment images --out m --truth missing": (3, "no such file or folder: 'missing'"),
    "segment images --out m --reference goood": (3, "did you mean 'good'?"),
    "segment images --out m --propagate missing.png": (3, "no such file or folder: 'missing.png'"),
    "segment images --out m --groups missing.csv": (3, "missing.csv"),
    "segment images --detector missing": (4, "--detector: no such file or folder: 'missing'"),
    "segment --from missing --out m": (4, "--from: no such file or folder: 'missing'"),
    "cluster there.npy --labels missing.csv": (3, "missing.csv"),
    "cluster there.npy --drift missing.npy": (4, "no such feature file: missing.npy"),
    "cluster there.npy --ids-from missing.csv": (3, "no such file or folder: 'missing.csv'"),
    "classify images --classifier missing.safetensors": (4, "--classifier: no such file"),
    "export --classifier missing.safetensors --out x": (4, "--classifier: no such file"),
    "search missing.png --in there.npy": (3, "no such file or folder: 'missing.png'"),
    "search images --unlike missing.png --in there.npy": (3, "no such file or folder: 'missing.png'"),
    "search --row 7 --in there.npy": (2, "--row 7: no row of there.npy has that name"),
    # Outputs that exist.
    "embed images --out there.npy": (2, "there.npy already exists"),
    "segment images --out good --weights none": (2, "good is not empty"),
    "segment images --out masks": (2, "masks already exists"),
    "segment images --out m --coco there.csv": (2, "there.csv already exists"),
    "segment images --out m --save-detector good": (2, "good exists and is not a detector"),
    "cluster there.npy --out there.csv": (2, "there.csv already exists"),
    "cluster there.npy --link-dir good": (2, "--link-dir good exists"),
    "classify there.npy --labels folder --out there.csv": (2, "there.csv already exists"),
    "evaluate there.npy --report there.csv": (2, "there.csv already exists"),
    "export --out there.csv --format onnx": (2, "there.csv already exists"),
    "search 0 --in there.npy --sheet there.png": (2, "there.png already exists"),
    "cluster there.npy --out a.csv --report a.csv": (2, "a.csv is an input or another output"),
    "classify there.npy --labels there.csv --out there.csv --force": (2, "there.csv is an input"),
    "evaluate there.npy --report there.npy --force": (2, "there.npy is an input"),
    "pretrain images --out there.csv --force": (2, "there.csv is a file"),
    "segment images --out there.csv --weights none": (2, "there.csv is a file"),
    "pretrain images --out good": (2, "good is not empty"),
    'pretrain images --set run.track=["mlflow"]': (4, "pip install 'dinocli[mlflow]'"),
    # No run to take inputs or weights from, and options that contradict each other.
    "embed --out f.npy": (4, "no finished run"),
    "embed images --out f.npy": (4, "name weights with --weights"),
    "segment --out m": (4, "no finished run"),
    "segment images --out m": (4, "name weights with --weights"),
    "search 0": (4, "no finished run"),
    "cluster": (4, "no finished run"),
    "cluster images": (4, "name weights with --weights"),
    "classify --labels folder": (4, "no finished run"),
    "evaluate": (4, "no finished run"),
    "evaluate there.npy --groups part": (2, "belong to labels"),
    "evaluate there.npy --weights vit": (2, "--weights cannot change the features in there.npy"),
    "export --out x": (4, "no finished run"),
    "export --out x --classifier there.npy": (2, "it needs --format onnx"),
    "embed images --out f.npy --shard 2/2": (2, "--shard '2/2'"),
    "embed images --out f.npy --weights=": (2, "--weights has an empty value"),
    "embed images -0 --out f.npy --weights none": (2, "-0 separates paths on stdin"),
    "pretrain images -0": (2, "-0 separates paths on stdin"),
    "embed --merge --out f.npy --dry-run": (2, "leave --dry-run out"),
    "segment images --out m --query 0.5,0.5": (2, "--query belongs to --method attention"),
    "segment images --out m --polygons": (2, "add --coco FILE"),
    "segment images --detector good --json": (2, "one JSON line per image"),
    "doctor --model vit_tiny_patch16_224": (2, "add --bench"),
}


def test_home_is_expanded_where_a_path_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/me")
    words = {"~": "/me", "~/a b": "/me/a b", "--out=~/x": "--out=/me/x", "@~/l.txt": "@/me/l.txt"}
    others = ("./~", "a~", "~you/x", "-o", "key=~/x", "--set=key=~/x")
    assert {word: with_home(word) for word in (*words, *others)} == words | {word: word for word in others}


def test_an_empty_value_is_named() -> None:
    """It would mean the default: of `--weights "$unset"`, the weights of the newest run."""
    assert emptied_option(["embed", "in", "-q", "--weights", "", "--out", "f.npy"]) == "--weights"
    assert emptied_option(["-o="]) == "-o"
    for words in (["embed", "-", "-0"], ["--set", "model.name="], [""], ["--", "-o", ""]):
        assert emptied_option(words) == ""


def test_what_needs_no_network_is_refused_before_torch_loads(tmp_path: Path) -> None:
    for folder in ("images", "good", "masks", "empty"):
        (tmp_path / folder).mkdir()
    for name in ("images/0.png", "good/0.png", "masks/segment.json", "there.csv", "there.png"):
        (tmp_path / name).write_text("0")
    np.save(tmp_path / "there.npy", np.eye(2, dtype=np.float32))
    command = [sys.executable, "-c", ASK, json.dumps([case.split() for case in CASES])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert len(answers) == len(CASES)
    for (case, (code, words)), (given, error, torch) in zip(CASES.items(), answers, strict=True):
        assert (given, error.count("\n")) == (code, 1), f"{case}: {error}"
        assert error.startswith("dinocli: ")
        assert words in error, case
        assert not torch, case
