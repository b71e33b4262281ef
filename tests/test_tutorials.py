"""The tutorials, command by command in order, as a user types them, on real images."""

import re
import runpy
from pathlib import Path

import pytest

from tests.test_docs import blocks
from tests.workplace import SMALL, make_workplace, type_in

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
if not TUTORIALS.is_dir():
    pytest.skip("the documents are in the repository alone", allow_module_level=True)
MADE = {
    "adapt": ["runs/mine/views.png", "runs/mine/report.html", "runs/comparison.html"],
    "features": ["found.png", "evaluation.html", "predictions.csv", "suggested.csv"],
    "groups": ["report.html", "twelve.html", "twelve.png", "batch.drift.csv", "groups"],
    "defects": ["masks/report.html", "masks/segments.csv", "objects.json", "tiled", "checked"],
}
"""Tutorial -> what its commands leave; those after the first use the run of the first."""

HUB = "vit_small_patch16_224.dino"


def lines(tutorial: str) -> list[str]:
    text = (TUTORIALS / f"{tutorial}.md").read_text("utf-8")
    return [line for block in blocks(text, "sh") for line in block.splitlines() if line.strip()]


def shortened(line: str) -> str:
    """Train three steps from weights that are here."""
    line = line.replace(HUB, "./weights")
    if not line.startswith("dinocli finetune-ssl"):
        return line
    few = "" if "--dry-run" in line else f" {SMALL}"
    return re.sub(r" --minutes \d+| --weights \S+", "", line).split("  #")[0] + f" --weights ./weights{few}"


def test_every_tutorial_is_typed() -> None:
    assert {path.stem for path in TUTORIALS.glob("*.md")} == set(MADE)
    assert all(len(lines(tutorial)) > 4 for tutorial in MADE)
    assert shortened("dinocli finetune-ssl ./images --minutes 20 --out runs/a") == (
        f"dinocli finetune-ssl ./images --out runs/a --weights ./weights {SMALL}"
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the run of the first tutorial has ended."""
    folder = make_workplace(tmp_path_factory.mktemp("trained"))
    (run,) = (line for line in lines("adapt") if "--out runs/mine" in line)
    type_in(shortened(run), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", MADE)
def test_a_tutorial_runs_to_its_end(
    tutorial: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained
    if tutorial != "adapt":
        folder = make_workplace(tmp_path / tutorial)
        (folder / "runs").symlink_to(trained / "runs")
    for line in lines(tutorial):
        if tutorial != "adapt" or "--out runs/mine" not in line:
            type_in(shortened(line), folder)
    for name in MADE[tutorial]:
        path = folder / name
        assert any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0, name
    monkeypatch.chdir(folder)
    for number, code in enumerate(blocks((TUTORIALS / f"{tutorial}.md").read_text("utf-8"), "python")):
        script = tmp_path / f"{number}.py"
        script.write_text(code)
        runpy.run_path(str(script))
