"""The ten jobs of docs/jobs.md, run as a user types them, on real images."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forks import environment

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "jobs.md"
if not PAGE.is_file():
    pytest.skip("the documents are in the repository alone", allow_module_level=True)
DATA = next((path for parent in ROOT.parents if (path := parent / "shared" / "data").is_dir()), None)
JOBS = dict(re.findall(r"^## \d+\. (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))
SHORTER = {"--minutes 20": "--steps 3 --batch-size 8"}


def commands(job: str) -> list[str]:
    return [line for block in re.findall(r"```sh\n(.*?)```", JOBS[job], re.DOTALL) for line in block.splitlines()]


def test_there_are_ten_jobs_of_at_most_three_commands() -> None:
    assert len(JOBS) == 10
    for job in JOBS:
        assert 1 <= len(commands(job)) <= 3
        assert "\nGives `" in JOBS[job]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images and weights that the page speaks of."""
    if DATA is None:
        pytest.skip("no real images: the jobs run where ../shared/data is")
    folder = tmp_path_factory.mktemp("jobs")
    for number, group in enumerate(sorted(path for path in (DATA / "neu").iterdir() if path.is_dir())):
        images = sorted(group.iterdir())
        link(images[:20], folder / "steel" / group.name)
        link(images[20 + number : 22 + number], folder / "week2")
    few = [path for path in sorted((folder / "steel").rglob("*.jpg")) if int(path.stem.split("_")[-1]) % 5 == 0]
    lines = [f"./{path.relative_to(folder / 'steel')},{path.parent.name}\n" for path in few]
    (folder / "few.csv").write_text("path,label\n" + "".join(lines))
    drives = sorted((DATA / "bsdata" / "images").iterdir())
    link(drives[:4], folder / "parts")
    link(drives[100:112], folder / "good")
    (folder / "weights").mkdir()
    (folder / "weights" / "config.json").write_text(json.dumps({"architecture": "tf_efficientnet_lite0"}))
    tensors = DATA / "weights" / "tf_efficientnet_lite0_imagenet.safetensors"
    (folder / "weights" / "model.safetensors").symlink_to(tensors)
    tools = folder / "bin"
    tools.mkdir()
    (tools / "dinocli").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dinocli "$@"\n')
    (tools / "dinocli").chmod(0o755)
    return folder


def link(images: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        (folder / image.name).symlink_to(image)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_a_job_gives_what_the_page_says(job: str, workplace: Path) -> None:
    """Later jobs use what earlier ones left, as on the page."""
    if "onnx" in JOBS[job]:
        pytest.importorskip("onnx", reason="needs the extra `onnx`")
    for line in commands(job):
        for long, short in SHORTER.items():
            line = line.replace(long, short)
        env = environment({"PATH": f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}"})
        done = subprocess.run(["bash", "-c", line], cwd=workplace, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    promised = re.findall(r"`([\w./]+[./]\w*)`", JOBS[job].split("\nGives ")[1])
    assert promised
    for name in promised:
        path = workplace / name
        assert any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0, name


@pytest.mark.slow
def test_what_the_jobs_found_is_right(workplace: Path) -> None:
    """After all jobs: the search finds its class, the page shows every class, two runs are compared."""
    if not (workplace / "recipes.tsv").is_file():
        pytest.skip("runs after the jobs")
    found = [line.split("\t") for line in (workplace / "found.tsv").read_text().splitlines()]
    assert len(found) == 12 * 5
    right = sum(Path(query).stem.split("_")[0] == Path(path).stem.split("_")[0] for query, _, _, path in found)
    assert right > 0.8 * len(found)
    with (workplace / "predictions.csv").open() as file:
        predicted = [(row["path"], row["predicted"]) for row in csv.DictReader(file)]
    assert len(predicted) == 120
    assert sum(label in path for path, label in predicted) > 0.7 * len(predicted)
    assert len((workplace / "recipes.tsv").read_text().splitlines()) == 3
    page = (workplace / "labels.html").read_text()
    assert all(path.name in page for path in (workplace / "steel").iterdir())
    shutil.rmtree(workplace)
