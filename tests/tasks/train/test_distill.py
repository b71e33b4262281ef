"""Whole runs with a frozen teacher: the student comes nearer to it, and everything says so."""

import json
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from dinocli.config.load import load_recipe, with_values
from dinocli.engine.checkpoint import load_checkpoint
from dinocli.errors import UsageError, WeightsError
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import load_backbone
from dinocli.progress import ProgressReporter
from dinocli.report.score_lines import ScoreLine, share_of_teacher
from dinocli.tasks.train.dry_run import dry_run
from dinocli.tasks.train.run_report import TrainResult
from dinocli.tasks.train.train import train
from tests.engine.learners import PREPROCESS
from tests.shortcuts import FEW_PICTURES, UNMEASURED, replace_values
from tests.tasks.drive import Ears, job, processes
from tests.textures import write_textures

WAY = (
    "head.hidden_dim=0",
    "head.out_dim=32",
    "dino.teacher_temp=0.1",
    "dino.warmup_teacher_temp=0.1",
    "dino.center_momentum=1.0",
    "dino.center_batches=0",
    "dino.teacher_momentum_end=0.9",
    "loss.teacher_feature=10",
    "loss.teacher_patches=5",
    "optim.lr=3e-3",
    "optim.head_lr=3e-3",
    "run.log_every=1",
)
LEARNING = (
    *WAY,
    "model.name=test_resnet",
    "views.global_size=48",
    "data.short_side=64",
    "run.steps=24",
    "run.batch_size=12",
    "guard.every=1.0",
    "guard.probe_images=32",
)
SHORT = (
    *WAY,
    "model.name=test_resnet",
    "run.steps=4",
    "run.save_every=2",
    "guard.every=0.5",
    "guard.probe_images=8",
    "guard.stop=false",  # so short a run may well collapse, and has to be resumed all the same
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT with random weights, as a run of ours would leave it, under a licence of its own."""
    torch.manual_seed(5)
    backbone, info, _ = load_backbone("none", "test_vit")
    torch.manual_seed(6)  # `load_backbone` leaves the random numbers as they were
    with torch.no_grad():  # as it comes, it tells no two images apart
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("teacher") / "backbone"
    save_backbone(folder, backbone, replace(info, licence="cc-by-4.0"), replace(PREPROCESS, size=48))
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_textures(tmp_path_factory.mktemp("images"), each=8, side=64)


def write_blocks(folder: Path) -> Path:
    """Images that differ from each other in every place: 4 x 4 blocks of random grey, faint or strong."""
    rng = np.random.default_rng(0)
    for kind, contrast in (("faint", 50), ("strong", 110)):
        (folder / kind).mkdir(parents=True)
        for number in range(24):
            grey = 128 + contrast * np.kron(rng.uniform(-1, 1, (4, 4)), np.ones((16, 16)))
            Image.fromarray(grey.astype(np.uint8)).save(folder / kind / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def learnt(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    home = tmp_path_factory.mktemp("learnt")
    images = write_blocks(home / "images")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        result = train(job(images, home / "run", [*LEARNING, f"model.teacher={teacher}"], labels="folder"))
    assert result is not None
    return result


def run_json(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return data


def test_the_student_comes_nearer_to_its_teacher(learnt: TrainResult) -> None:
    first = learnt.lines[0]
    assert (first.key, first.teacher) == ("teacher_neighbours", 1.0)
    assert first.adapted > first.start
    lines = (learnt.folder / "metrics.jsonl").read_text().splitlines()
    distances = [row["teacher_feature"] for row in map(json.loads, lines) if "loss" in row]
    assert np.mean(distances[-5:]) < 0.8 * np.mean(distances[:5])
    assert (learnt.verdict.outcome, learnt.verdict.keep) == ("better", "adapted")
    assert "nearest neighbours shared with the teacher" in learnt.verdict.reason
    assert "the student has" in learnt.verdict.summary


def test_labels_measure_the_teacher_too(learnt: TrainResult) -> None:
    keys = [line.key.partition("/")[0] for line in learnt.labelled]
    assert keys == ["knn20_accuracy", "knn20_macro_f1", "5_shot", "map"]
    assert all(line.teacher is not None and 0 < line.teacher <= 1 for line in learnt.labelled)
    assert run_json(learnt.folder)["outcome"]["share_of_teacher"] == share_of_teacher(learnt.labelled)


def test_a_share_is_that_of_the_teachers_score() -> None:
    line = ScoreLine("knn20_accuracy/a", "k-NN accuracy, a", 0.2, 0.6, teacher=0.8)
    assert "75 % of its k-NN accuracy, a (0.600 of 0.800)" in share_of_teacher([line])
    assert share_of_teacher([replace(line, teacher=None)]) == ""


def test_the_folder_holds_the_student_under_the_licence_of_the_teacher(learnt: TrainResult, teacher: Path) -> None:
    data = run_json(learnt.folder)
    assert data["teacher"]["source"] == str(teacher)
    assert data["weights"]["source"] == "none"
    config = json.loads((learnt.folder / "backbone" / "config.json").read_text())
    assert config["architecture"] == "test_resnet"
    assert config["pretrained_cfg"]["license"] == "cc-by-4.0"
    model = timm.create_model(f"local-dir:{learnt.folder / 'backbone'}", pretrained=True)
    assert not any("proj" in name for name in model.state_dict())
    assert "test_vit" in (learnt.folder / "report.html").read_text()


def test_the_average_has_the_batch_norm_statistics_of_the_student(learnt: TrainResult) -> None:
    last = load_checkpoint(learnt.folder / "checkpoints" / "last.pt", torch.device("cpu"))
    moved = [name for name in last["student"] if name.endswith("running_mean")]
    assert moved
    assert all(torch.equal(last["teacher"][name], last["student"][name]) for name in moved)
    assert any(last["student"][name].abs().max() > 0.01 for name in moved)


def test_prototypes_are_the_teachers_and_never_move(learnt: TrainResult) -> None:
    last = load_checkpoint(learnt.folder / "checkpoints" / "last.pt", torch.device("cpu"))
    fitted = last["frozen_teacher"]["prototypes.direction"]
    torch.testing.assert_close(fitted.norm(dim=1), torch.ones(32))
    for network in ("student", "teacher"):
        assert torch.equal(last[network]["head.prototypes.direction"], fitted)
    assert not last["center"].any()


def test_a_resumed_run_ends_bit_equal(
    images: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_values(monkeypatch, FEW_PICTURES)
    settings = [*SHORT, f"model.teacher={teacher}"]
    assert train(job(images, tmp_path / "whole", settings))
    assert processes(job(images, tmp_path / "cut", settings), shot=(3, signal.SIGKILL)) == [-signal.SIGKILL]
    assert train(job(images, tmp_path / "cut", settings, resume=True))
    whole, cut = (
        load_checkpoint(tmp_path / name / "checkpoints" / "last.pt", torch.device("cpu")) for name in ("whole", "cut")
    )
    for part in ("student", "teacher", "frozen_teacher"):
        assert _equal(whole[part], cut[part]), part
    assert run_json(tmp_path / "whole")["outcome"]["scores"] == run_json(tmp_path / "cut")["outcome"]["scores"]


def _equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    assert one
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_dry_run_names_the_teacher(
    images: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_values(monkeypatch, UNMEASURED)
    asked = job(images, tmp_path / "run", [*SHORT, f"model.teacher={teacher}"])
    found = dry_run(asked, ProgressReporter())
    assert found is not None
    assert found["teacher"].startswith(f"test_vit from {teacher}")
    assert found["teacher"].endswith("licence cc-by-4.0; frozen")
    plain = dry_run(replace(asked, recipe=with_values(asked.recipe, PLAIN)), ProgressReporter())
    assert plain is not None
    assert plain["teacher"] == "average of the student"


PLAIN = {"model.teacher": "", "loss.teacher_feature": 0, "loss.teacher_patches": 0}


def test_another_range_than_the_teachers_is_told(
    images: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_values(monkeypatch, UNMEASURED)
    ears = Ears()
    settings = [*SHORT, f"model.teacher={teacher}", "data.range=fixed:0,200"]
    dry_run(job(images, tmp_path / "run", settings), ears)
    assert any("the teacher was trained with the range full" in warning for warning in ears.warnings)


def test_the_way_needs_a_teacher(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--teacher"):
        train(job(images, tmp_path / "run", SHORT))
    with pytest.raises(UsageError, match="--teacher none: random weights are not a teacher"):
        train(job(images, tmp_path / "run", [*SHORT, "model.teacher=none", "model.teacher_name=test_vit"]))
    assert load_recipe(["distill"]).loss.teacher_feature > 0


def test_a_bare_teacher_file_names_the_setting_that_helps(images: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "bare.pth")
    with pytest.raises(WeightsError, match=r"--set model\.teacher_name=TIMM_NAME"):
        train(job(images, tmp_path / "run", [*SHORT, f"model.teacher={tmp_path / 'bare.pth'}"]))
