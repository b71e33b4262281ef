"""What a stranger gets: the wheel holds everything, and works from anywhere, without this checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dinocli import __version__

ROOT = Path(__file__).resolve().parents[1]
for tool in ("build", "hatchling", "pip"):
    pytest.importorskip(tool, reason="building offline needs it: install the extra `dev`")
if not (ROOT / "pyproject.toml").is_file():
    pytest.skip("there is nothing to build outside the repository", allow_module_level=True)


def python(*arguments: str | Path, cwd: Path, path: Path | None = None) -> str:
    """Run Python and return stdout; the checkout is not on its path."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if path:
        env["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed into; its dependencies are those of this environment."""
    target = tmp_path_factory.mktemp("target")
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel, cwd=target)
    return target


def test_the_wheel_is_pure_and_holds_every_file(wheel: Path) -> None:
    assert wheel.name == f"dinocli-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    found = {path.relative_to(ROOT) for path in (ROOT / "dinocli").rglob("*.*")}
    wanted = {str(path) for path in found if "__pycache__" not in path.parts}  # other tests may compile something
    assert {"dinocli/report/page.css", "dinocli/py.typed", "dinocli/engine/step.py"} <= wanted
    wanted |= {f"dinocli/_recipes/{path.name}" for path in (ROOT / "recipes").glob("*.toml")}
    info = f"dinocli-{__version__}.dist-info"
    assert held == wanted | {
        f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }


def test_the_metadata_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = archive.read(name).decode()
        scripts = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    lines = metadata.splitlines()
    assert "License-Expression: Apache-2.0" in lines
    assert "Requires-Python: >=3.11" in lines
    assert "dinocli = dinocli.cli.app:main" in scripts
    needed = [line for line in lines if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    assert any(line.startswith("Requires-Dist: torch") for line in needed)
    assert not any(word in line for line in needed for word in ("pytest", "ruff", "mypy", "elpv"))


def test_it_works_from_another_folder(installed: Path, tmp_path: Path) -> None:
    place = python("-c", "import dinocli; print(dinocli.__file__)", cwd=tmp_path, path=installed)
    assert Path(place.strip()).is_relative_to(installed)
    assert "pretrain" in python("-m", "dinocli", "--help", cwd=tmp_path, path=installed)
    listed = python("-m", "dinocli", "recipe", "list", cwd=tmp_path, path=installed)
    assert {line.split("\t")[0] for line in listed.splitlines()} == {path.stem for path in ROOT.glob("recipes/*.toml")}
    shown = python("-m", "dinocli", "recipe", "show", "industrial", cwd=tmp_path, path=installed)
    assert "[views]" in shown
    script = installed / "bin" / "dinocli"
    assert python(script, "--version", cwd=tmp_path, path=installed) == f"dinocli {__version__}\n"


def test_the_report_finds_its_style(installed: Path, tmp_path: Path) -> None:
    script = "from pathlib import Path; from dinocli.report.page import *; write_report(Path('a.html'), Report('t'))"
    python("-c", script, cwd=tmp_path, path=installed)
    assert "<style>" in (tmp_path / "a.html").read_text()
