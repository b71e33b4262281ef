"""A folder with the real images, labels and weights that docs/jobs.md and the tutorials speak of."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.commands import start_warm
from tests.forks import environment

ROOT = Path(__file__).resolve().parents[1]
DATA = next((path for parent in ROOT.parents if (path := parent / "shared" / "data").is_dir()), None)


SMALL = (
    "--steps 3 --batch-size 8 -s guard.probe_images=16 -s views.global_size=64 -s views.local_count=2 "
    "-s head.out_dim=256"
)
"""In place of `--minutes 20`: everything happens, in little time."""


def make_workplace(folder: Path) -> Path:
    """Fill a folder: steel of six kinds, parts with and without a flaw, their masks, large images, labels, weights."""
    if DATA is None:
        pytest.skip("no real images: this runs where ../shared/data is")
    for number, group in enumerate(sorted(path for path in (DATA / "neu").iterdir() if path.is_dir())):
        images = sorted(group.iterdir())
        link(images[:20], folder / "steel" / group.name)
        link(images[20 + number : 22 + number], folder / "week2")
    steel = sorted((folder / "steel").rglob("*.jpg"))
    lines = [f"./{path.relative_to(folder / 'steel')},{path.parent.name},{path.stem[-1]}\n" for path in steel]
    few = [line.rsplit(",", 1)[0] + "\n" for line in lines if line[-2] in "05"]
    (folder / "labels.csv").write_text("path,label,part\n" + "".join(lines))
    (folder / "few.csv").write_text("path,label\n" + "".join(few))
    drives = sorted((DATA / "bsdata" / "images").iterdir())
    link(drives[:4], folder / "parts")
    link(drives[100:112], folder / "good")
    link([DATA / "bsdata" / "masks" / f"{path.stem}.png" for path in drives[:4]], folder / "truth")
    (folder / "wafers").mkdir()
    for number in (0, 1):
        Image.open(drives[number]).resize((1100, 700)).save(folder / "wafers" / f"{number}.png")
    (folder / "weights").mkdir()
    (folder / "weights" / "config.json").write_text(json.dumps({"architecture": "tf_efficientnet_lite0"}))
    tensors = DATA / "weights" / "tf_efficientnet_lite0_imagenet.safetensors"
    (folder / "weights" / "model.safetensors").symlink_to(tensors)
    for name, there in (("images", "steel"), ("new", "week2"), ("photos", "parts")):
        (folder / name).symlink_to(there)
    (folder / "defect.png").write_bytes((drives[0]).read_bytes())
    tools = folder / "bin"
    tools.mkdir()
    (tools / "dinocli").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dinocli "$@"\n')
    (tools / "dinocli").chmod(0o755)
    return folder


def link(images: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        (folder / image.name).symlink_to(image)


def type_in(line: str, folder: Path) -> None:
    """Run a line of a shell block, and show what it said if it failed.

    A command that stands alone is forked from a process that has torch already; the others go through a shell.
    """
    words, out = shlex.split(line, comments=True), ""
    if ">" in words:
        words, out = words[: words.index(">")], str(folder / words[words.index(">") + 1])
    if words[0] == "dinocli" and not {"|", "&&", ";"} & {*words}:
        ended = start_warm(*words[1:], cwd=folder, stdout=out, replaced={}).wait(600)
        assert ended.code == 0, f"{line}\n{ended.err}"
        return
    env = environment({"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"})
    shell = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(shell, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
