"""The sample for the number of distinct images, and its message in a run."""

import itertools
import json
import shutil
from pathlib import Path

import pytest

from dinocli.engine.distinct_images import RUN, SAMPLE, stretches
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train import train
from tests.shortcuts import FEW_PICTURES, replace_values
from tests.tasks.drive import Ears, job
from tests.tasks.test_resume import tiny_vit
from tests.tasks.train.test_train import SHORT
from tests.textures import write_textures


@pytest.mark.parametrize("images", [1, 40, SAMPLE, SAMPLE + 1, 5_000, 1_000_000])
def test_a_sample_consists_of_consecutive_images_across_the_folder(images: int) -> None:
    chosen = stretches(images)
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
    assert chosen[-1] == images - 1
    assert len(chosen) <= SAMPLE
    if images >= 5_000:
        assert len(chosen) == SAMPLE
        assert sum(b - a == 1 for a, b in itertools.pairwise(chosen)) == SAMPLE - SAMPLE // RUN


def test_a_run_reports_and_stores_the_number_of_distinct_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_values(monkeypatch, FEW_PICTURES)
    images = write_textures(tmp_path / "images", each=3, side=64)
    for path in sorted(images.rglob("*.png")):
        for number in range(3):
            shutil.copy(path, path.with_name(f"{path.stem}-{number}.png"))
    ears, start = Ears(), f"model.weights={tiny_vit(tmp_path / 'vit')}"
    sizes = ("views.global_size=32", "run.batch_size=auto", "run.steps=2", "model.name=")
    train(job(images, tmp_path / "run", [*SHORT, *sizes, start]), ears)
    said = [line for line in ears.lines if "distinct images of 36" in line]
    distinct = json.loads((tmp_path / "run" / "run.json").read_text())["distinct"]
    assert distinct <= 9, "every image is there four times"
    assert said == [f"about {distinct} distinct images of 36 (near-copies counted once)"]
    fixed = Ears()
    options = job(images, tmp_path / "fixed", [*SHORT, *sizes[:1], "run.steps=2", "model.name=", start])
    setup(options, list_images(options, None), fixed)
    assert not any("distinct images" in line for line in fixed.lines), "nobody asked"
