"""The time that `--dry-run` names is that of the whole run, and `--minutes` is kept in it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dinocli.engine.probe import Probe
from dinocli.engine.progress import ProgressReporter
from dinocli.errors import DataError
from dinocli.tasks.train.dry_run import TrainForecast, estimate
from dinocli.tasks.train.setup import TrainOptions
from tests.tasks.drive import job
from tests.textures import write_textures

PLAIN = ("run.steps=100", "guard.every=0.25", "guard.probe_images=8", "optim.head_warmup=0")
"""Four looks and two of the verdict after that at the start; no mixes, nothing to get ready."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_textures(tmp_path_factory.mktemp("images"), each=4, side=40)  # twelve


@pytest.fixture
def asked(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainOptions:
    monkeypatch.setattr("dinocli.tasks.train.dry_run.seconds_per_step", lambda *_: (2.0, 2.0))
    monkeypatch.setattr("dinocli.tasks.train.dry_run._time_of_a_look", lambda *_: (6.0, 3 * 8))
    settings = (*PLAIN, "guard.blend=[1.0]", "head.start=random", "model.batch_norm=frozen")
    return replace(job(images, tmp_path / "run", settings), labels="")


def of(asked: TrainOptions) -> TrainForecast:
    found = estimate(asked, ProgressReporter())
    assert found is not None
    return found


def test_minutes_are_those_of_steps_and_looks(asked: TrainOptions) -> None:
    found = of(asked)
    assert (found.steps, found.seconds_per_look) == (100, 6.0)
    assert found.minutes == round((100 * 2 + (1 + 4 + 2) * 6) / 60, 1)


def test_labels_are_measured_at_the_end(asked: TrainOptions) -> None:
    found = of(replace(asked, labels="folder"))
    assert found.minutes == round((100 * 2 + (1 + 4 + 2 + 2 * 12 / (3 * 8)) * 6) / 60, 1)


def test_a_limit_is_kept(asked: TrainOptions) -> None:
    found = of(replace(asked, minutes=3.0))
    assert found.steps == (180 - 7 * 6) // 2
    assert found.minutes == 3.0


def test_labels_that_cannot_be_read_are_named(asked: TrainOptions) -> None:
    with pytest.raises(DataError, match=r"cannot read the labels nowhere\.csv"):
        of(replace(asked, labels="nowhere.csv"))


def test_a_warm_look_at_a_few_images_stands_for_one_at_the_probe_set(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial has four images, the probe set eight: twice the time, and eight images, crops and quarters."""
    clock = SimpleNamespace(now=0.0, next=20.0)

    def look(*_: object) -> None:
        clock.now, clock.next = clock.now + clock.next, 5.0

    monkeypatch.setattr("dinocli.tasks.train.dry_run.TRIAL_IMAGES", 4)
    monkeypatch.setattr("dinocli.tasks.train.dry_run.time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(Probe, "look", look)
    monkeypatch.setattr("dinocli.tasks.train.dry_run.looks_to_get_ready", lambda *given: float(given[-1]))
    monkeypatch.setattr("dinocli.tasks.train.dry_run.seconds_per_step", lambda *_: (0.0, 0.0))
    settings = (*PLAIN, "guard.score=pieces", "guard.blend=[1.0]")
    found = of(replace(job(images, tmp_path / "run", settings), labels=""))
    assert found.seconds_per_look == 2 * 5.0
    assert found.minutes == round((1 + 3 * 8 + 4 + 2) * 10 / 60, 1)
