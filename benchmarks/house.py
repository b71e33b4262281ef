"""Measure the size of the code: files executed before the first training step, files imported by each command.

    python benchmarks/house.py [--tree PATH_OF_A_SOURCE_TREE]

Commands run as subprocesses on eight small images with random weights. Prints tab-separated lines:

- `run before train_step`: files of dinocli with a called function, and their lines;
- `stack at train_step`: files of dinocli on the call stack, in order;
- `imported by COMMAND`: files of dinocli in `sys.modules` at the end;
- `parameters`: functions with the most parameters, except commands of `cli/`, whose parameters are options;
- `duplicates`: pairs of functions in which 70 % of the statements are equal up to variable names;
- `lines`: lines of each package.
"""

import argparse
import ast
import copy
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

PROFILER = """
import json, os, sys, threading
from pathlib import Path
out, seen = sys.argv.pop(1), set()

def profile(frame, event, _):
    code = frame.f_code
    if event != "call" or "/dinocli/" not in code.co_filename:
        return
    if code.co_name != "<module>":
        seen.add(code.co_filename)
    if code.co_name == "train_step":
        stack = []
        while frame:
            if "/dinocli/" in frame.f_code.co_filename and frame.f_code.co_filename not in stack:
                stack.append(frame.f_code.co_filename)
            frame = frame.f_back
        Path(out).write_text(json.dumps({"run": sorted(seen), "stack": stack[::-1]}))
        os._exit(0)

from dinocli.cli.app import main
threading.setprofile(profile)
sys.setprofile(profile)
main()
"""
IMPORTS = """
import json, sys
from pathlib import Path
out = sys.argv.pop(1)
from dinocli.cli.app import main
try:
    main()
finally:
    files = [m.__file__ for n, m in list(sys.modules.items()) if n.split(".")[0] == "dinocli" and m.__file__]
    Path(out).write_text(json.dumps(files))
"""
FEWEST_STATEMENTS, ALIKE = 4, 0.7
NET = ("--weights", "none", "--model", "test_convnext", "--device", "cpu")


def main() -> None:
    """Print all figures of one tree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parents[1])
    tree = parser.parse_args().tree.resolve()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _write_images(folder / "images")
        _runs(tree, folder)
    _parameters(tree)
    _duplicates(tree)
    for package in sorted(path for path in (tree / "dinocli").iterdir() if path.is_dir() and path.name[0] not in "._"):
        files = [*package.rglob("*.py")]
        print(f"lines\t{package.name}\t{len(files)} files\t{sum(map(_lines, files))} lines")


def _write_images(folder: Path) -> None:
    folder.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")


def _runs(tree: Path, folder: Path) -> None:
    steps = ("--steps", "1", "--batch-size", "4", "--set", "views.global_size=32", "--set", "views.local_size=32")
    found = _python(PROFILER, ["pretrain", "images", *NET, *steps, "--out", "run"], tree, folder)
    print(f"run before train_step\t{len(found['run'])} files\t{sum(_lines(Path(f)) for f in found['run'])} lines")
    print(f"stack at train_step\t{len(found['stack'])} files\t{' > '.join(_short(f) for f in found['stack'])}")
    commands = {
        "embed": ["embed", "images", *NET, "--size", "32", "--out", "feats.npy"],
        "cluster": ["cluster", "feats.npy", "-k", "2", "--report", "none"],
        "search": ["search", "./1.png", "--in", "feats.npy"],
        "evaluate": ["evaluate", "feats.npy", "--views", "0"],
        "segment": ["segment", "images", *NET, "--method", "anomaly", "--size", "64", "--out", "masks"],
        "export": ["export", "none", "--model", "test_convnext", "--out", "exported"],
    }
    for name, words in commands.items():
        files = _python(IMPORTS, words, tree, folder)
        print(f"imported by {name}\t{len(files)} files\t{sum(_lines(Path(f)) for f in files)} lines")


def _python(code: str, words: list[str], tree: Path, folder: Path) -> dict[str, list[str]]:
    out = folder / "found.json"
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(out), *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    if not out.is_file():
        raise SystemExit(done.stderr)
    found: dict[str, list[str]] = json.loads(out.read_text())
    out.unlink()
    return found


def _parameters(tree: Path) -> None:
    counts = []
    for path in (tree / "dinocli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and path.parent.name != "cli":
                arguments = node.args
                names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
                counts.append((len([name for name in names if name != "self"]), node.name, path))
    for count, name, path in sorted(counts, key=lambda item: -item[0])[:5]:
        print(f"parameters\t{count}\t{path.relative_to(tree / 'dinocli')}::{name}")


class _Renamed(ast.NodeTransformer):
    """Replaces variable names by numbers in order of occurrence."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self._numbers.setdefault(node.id, f"v{len(self._numbers)}"), node.ctx)


def _duplicates(tree: Path) -> None:
    functions = []
    for path in (tree / "dinocli").rglob("*.py"):
        parsed = ast.parse(path.read_text(encoding="utf-8"))
        scopes: list[ast.Module | ast.ClassDef] = [parsed]
        scopes += [node for node in ast.walk(parsed) if isinstance(node, ast.ClassDef)]
        for node in (node for scope in scopes for node in scope.body if isinstance(node, ast.FunctionDef)):
            inner = [part for part in ast.walk(node) if isinstance(part, ast.stmt) and part not in (node, node.body[0])]
            statements = Counter(ast.dump(_Renamed().visit(copy.deepcopy(part))) for part in inner)
            functions.append((f"{path.relative_to(tree / 'dinocli')}::{node.name}", statements))
    for (one, first), (other, second) in itertools.combinations(functions, 2):
        shorter = min(first.total(), second.total())
        if shorter >= FEWEST_STATEMENTS and (first & second).total() >= ALIKE * shorter:
            print(f"duplicates\t{one}\t{other}")


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _short(file: str) -> str:
    return file.rpartition("/dinocli/")[2]


if __name__ == "__main__":
    main()
