"""The time that `--dry-run` names is that of the whole run, and `--minutes` is kept in it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dinocli.config.load import with_values
from dinocli.engine.run_seconds import PAGE_FORWARDS, Costs
from dinocli.errors import DataError
from dinocli.progress import ProgressReporter
from dinocli.tasks.train.dry_run import dry_run
from dinocli.tasks.train.train_options import TrainOptions
from tests.shortcuts import UNMEASURED, replace_values
from tests.tasks.drive import Ears, job
from tests.textures import write_textures

PLAIN = ("run.steps=100", "guard.every=0.25", "guard.probe_images=8", "optim.head_warmup=0")
COSTS = Costs(head_step=2.0, step=2.0, forward=0.25, probe_image=0.75)
"""6 s a probe of eight images."""

PAGE = PAGE_FORWARDS * 0.25

GUARD = (5 + 2 * 9 / 4) * 6
"""Of five probes of the guard and two of the verdict, seconds."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_textures(tmp_path_factory.mktemp("images"), each=4, side=40)  # twelve


@pytest.fixture
def asked(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainOptions:
    replace_values(monkeypatch, UNMEASURED)
    monkeypatch.setattr("dinocli.tasks.train.dry_run.measure_costs", lambda *_: COSTS)
    probes = ("guard.weight_interpolation=[1.0]", "guard.synthetic_defects=true")
    settings = (*PLAIN, *probes, "head.init=random", "dino.center_batches=0")
    return job(images, tmp_path / "run", [*settings, "model.batch_norm=frozen"])


def of(asked: TrainOptions, ears: Ears | None = None) -> dict[str, Any]:
    found = dry_run(asked, ears or ProgressReporter())
    assert found is not None
    return found


def test_minutes_are_those_of_steps_probes_verdict_and_page(asked: TrainOptions) -> None:
    found = of(asked)
    assert (found["steps"], found["probes"], found["probe_images"]) == (100, 1 + 4 + 2, 8)
    assert found["seconds_per_probe"] == 6.0
    assert found["minutes"] == round((100 * 2 + GUARD + PAGE) / 60, 1)
    assert found["guard_share"] == pytest.approx(GUARD / (100 * 2 + GUARD + PAGE), abs=1e-3)


def test_labels_are_measured_at_the_end(asked: TrainOptions) -> None:
    found = of(replace(asked, labels="folder"))
    assert found["minutes"] == round((100 * 2 + GUARD + 2 * 12 * 0.25 + PAGE) / 60, 1)


def test_a_limit_is_kept(asked: TrainOptions) -> None:
    found = of(replace(asked, minutes=3.0))
    assert found["steps"] == (180 - GUARD - PAGE) // 2
    assert found["minutes"] == 3.0


def test_the_guard_takes_at_most_its_share(asked: TrainOptions) -> None:
    cut = of(replace(asked, recipe=with_values(asked.recipe, {"guard.max_share": 0.05, "run.steps": 10})))
    assert cut["probes"] == 2, "start and end always remain"
    assert cut["recipe"]["guard"]["every"] == 1.0


def test_labels_that_cannot_be_read_are_named(asked: TrainOptions) -> None:
    with pytest.raises(DataError, match=r"cannot read the labels nowhere\.csv"):
        of(replace(asked, labels="nowhere.csv"))


def test_every_line_about_images_names_the_whole_folder(
    asked: TrainOptions, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinocli.tasks.train.dry_run.TRIAL_IMAGES", 4)
    ears = Ears()
    found = of(asked, ears)
    assert (found["images"], found["measured_images"]) == (12, 4)
    assert [line for line in ears.lines if " images in " in line] == [f"12 images in {images}; measuring on 4 of them"]


def test_costs_are_measured_after_a_step_and_a_pass_that_warm_up(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 5 s are timed once, after the first one; the passes of twelve images take 8 s, the first one longer."""
    clock = SimpleNamespace(now=0.0, forwards=[80.0, 8.0])

    def step(*_: object) -> torch.Tensor:
        clock.now += 5.0 if clock.now else 50.0
        return torch.zeros(1)

    def forward(*_: object) -> None:
        clock.now += clock.forwards.pop(0)

    monkeypatch.setattr("dinocli.engine.costs.time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr("dinocli.engine.costs.train_step", step)
    monkeypatch.setattr("dinocli.engine.costs.whole_features", forward)
    found = of(job(images, tmp_path / "run", PLAIN))
    assert found["seconds_per_step"] == 5.0
    assert found["seconds_per_probe"] == 8 * 3 * 8.0 / 8, (
        "eight images: the image, a crop, the quadrants; random weights"
    )
