from dataclasses import replace
from pathlib import Path

import pytest

from dinocli.models.weights import WeightsInfo
from dinocli.tasks.train.setup import TrainOptions, cache_folder, describe
from tests.engine.learners import tiny_recipe

INFO = WeightsInfo(
    name="vit_small_patch16_224.dino",
    source="./dino.pth",
    sha256="0123456789abcdef" * 4,
    licence="apache-2.0",
    matched=150,
    total=150,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    size=224,
    pretrained=True,
)


def test_the_start_is_described_with_its_licence_and_hash() -> None:
    assert describe(INFO) == (
        "vit_small_patch16_224.dino from ./dino.pth: 150 of 150 tensors, sha256 0123456789ab, licence apache-2.0"
    )
    assert describe(replace(INFO, pretrained=False)) == "vit_small_patch16_224.dino from scratch, random weights"


def test_a_request_is_what_has_to_be_the_same_again() -> None:
    job = TrainOptions(inputs=("a",), recipe=tiny_recipe())
    assert job.request() == replace(job, out="elsewhere", labels="folder", resume=True, argv=("x",)).request()
    assert job.request() != replace(job, minutes=3.0).request()
    assert job.request() != replace(job, recipe=tiny_recipe("run.seed=9")).request()


def test_the_cache_lies_where_the_system_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dinocli" / "canvases"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "dinocli" / "canvases"
