"""A run that was killed and resumed ends bit-equal to one that was not, with one process and with two."""

import json
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from dinocli.engine.checkpoint import load_checkpoint
from dinocli.errors import UsageError, WeightsError
from dinocli.tasks.train.train import train
from dinocli.tasks.train.train_options import TrainOptions
from tests.shortcuts import FEW_PICTURES, replace_values
from tests.tasks.drive import job, processes
from tests.textures import write_textures

CLOCKS = ("seconds", "data_wait", "images_per_second")
STEPS = 12
LONG = (
    f"run.steps={STEPS}",
    "run.log_every=1",
    "run.save_every=4",
    "guard.every=0.5",
    "guard.probe_images=8",
    "optim.head_warmup=0.25",
    "model.drop_path=0",
    "run.batch_size=4",
    "views.focus=0.5",
)
EXTRAS = (
    "run.steps=16",
    "model.name=",
    "model.trainable=lora",
    "optim.layer_decay=0.8",
    "optim.head_warmup=0.75",
    "optim.head_warmup_loss=0.95",
    "loss.koleo=0.1",
    "loss.gram_anchor=1",
    "loss.feature_anchor=1",
    "guard.every=0.25",
    "guard.stop=false",
)
"""Everything that the plain run has not, and that leaves something to remember."""

SLOW = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def few_pictures_in_all_runs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        replace_values(patch, FEW_PICTURES)
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_textures(tmp_path_factory.mktemp("images"), each=4, side=40)


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Uninterrupted runs, by number of processes."""
    runs = {world: tmp_path_factory.mktemp("whole") / f"run{world}" for world in (1, 2)}
    for world, out in runs.items():
        finish(job(images, out, LONG), world)
    return runs


def finish(what: TrainOptions, world: int) -> None:
    """Run a job to its end; alone it needs no process of its own."""
    if world == 1:
        assert train(what)
    else:
        assert processes(what, world=world) == [0] * world


def tiny_vit(folder: Path) -> Path:
    """A timm folder with a ViT of two blocks, with random weights that pass for trained ones."""
    arguments = {"depth": 2, "img_size": 64}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **arguments)
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    about = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 0}
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 0,
        "model_args": arguments,
        "pretrained_cfg": about,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def rows(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in CLOCKS} for row in lines]


def flat(data: object, prefix: str = "") -> dict[str, object]:
    """Every tensor and number of a checkpoint under a name."""
    if isinstance(data, Mapping):
        return {name: leaf for key, value in data.items() for name, leaf in flat(value, f"{prefix}.{key}").items()}
    if isinstance(data, list):
        return flat(dict(enumerate(data)), prefix)
    return {prefix: data}


def differing(one: Path, other: Path) -> list[str]:
    """Names of what is not bit-equal in two checkpoints, clocks left out."""
    left, right = (flat(load_checkpoint(path, torch.device("cpu"))) for path in (one, other))
    assert left.keys() == right.keys()
    assert sum(isinstance(value, torch.Tensor) for value in left.values()) > 20

    def equal(a: object, b: object) -> bool:
        return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b

    return [key for key in left if key != ".seconds" and not equal(left[key], right[key])]


def assert_same_end(run: Path, expected: Path) -> None:
    for name in ("last.pt", "best.pt"):
        assert differing(run / "checkpoints" / name, expected / "checkpoints" / name) == []
    weights = "backbone/model.safetensors"
    assert (run / weights).read_bytes() == (expected / weights).read_bytes()
    assert rows(run) == rows(expected)
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert (run / "report.html").stat().st_size > 1000


@pytest.mark.parametrize(
    ("moment", "world"),
    [(8, 2), *(pytest.param(*rest, marks=SLOW) for rest in [(2, 1), (2, 2), (8, 1), (10, 1), (10, 2)])],
)
def test_killed_and_resumed_is_bit_equal(
    images: Path, whole: dict[int, Path], tmp_path: Path, moment: int, world: int
) -> None:
    """Before the first checkpoint, inside the head's warm-up; figures written but not the checkpoint; between two."""
    out = tmp_path / "run"
    codes = processes(job(images, out, LONG), world=world, shot=(moment, signal.SIGKILL))
    assert codes[0] == -signal.SIGKILL
    assert all(codes), "the other one is killed too, or has failed without the first"
    assert max(row["step"] for row in rows(out)) == moment
    finish(job(images, out, LONG, resume=True), world)
    assert_same_end(out, whole[world])
    steps = [row["step"] for row in rows(out) if "loss" in row]
    assert steps == [*range(1, STEPS + 1)], "no step twice, none missing"


@pytest.mark.parametrize(
    ("number", "world"),
    [
        (signal.SIGINT, 1),
        *(pytest.param(*rest, marks=SLOW) for rest in [(signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGTERM, 2)]),
    ],
)
def test_a_signal_stops_after_a_checkpoint(
    images: Path, whole: dict[int, Path], tmp_path: Path, number: signal.Signals, world: int
) -> None:
    """With two processes only one is told; both stop, at the same step."""
    out = tmp_path / "run"
    codes = processes(job(images, out, LONG), world=world, shot=(5, number))
    assert codes[0] == 128 + number
    assert all(code and code > 128 for code in codes)
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    saved = load_checkpoint(out / "checkpoints" / "last.pt", torch.device("cpu"))
    assert saved["step"] == rows(out)[-1]["step"] == 6, "the step after the signal was seen"
    finish(job(images, out, LONG, resume=True), world)
    assert_same_end(out, whole[world])


@pytest.mark.parametrize("world", [1, pytest.param(2, marks=SLOW)])
def test_lora_anchors_and_warm_up_losses_survive_a_resume(images: Path, tmp_path: Path, world: int) -> None:
    """Killed inside the ten steps that decide when the backbone begins, with some of their losses in the checkpoint."""
    settings = (*LONG, *EXTRAS, f"model.weights={tiny_vit(tmp_path / 'vit')}", "views.global_size=64")
    whole, out = tmp_path / "whole", tmp_path / "run"
    finish(job(images, whole, settings), world)
    assert processes(job(images, out, settings), world=world, shot=(8, signal.SIGKILL))[0] == -signal.SIGKILL
    finish(job(images, out, settings, resume=True), world)
    assert_same_end(out, whole)
    steps = [row for row in rows(whole) if "loss" in row]
    begun = [row["step"] for row in steps if row["lr"] > 0]
    assert begun[0] == 11, "the loss fell in the first ten steps, two before the warm-up would have ended anyway"
    assert all(row["feature_anchor"] < 1e-5 for row in steps[:10])
    assert steps[-1]["feature_anchor"] > 1e-5, "the low-rank changes learn"
    start = load_file(tmp_path / "vit" / "model.safetensors")
    best = load_checkpoint(whole / "checkpoints" / "best.pt", torch.device("cpu"))["backbone"]
    moved = {key for key, value in start.items() if not torch.equal(value, best[f"model.{key}"])}
    assert moved == {f"blocks.{n}.attn.{name}.weight" for n in range(2) for name in ("qkv", "proj")}


def test_two_processes_give_the_curve_of_one(whole: dict[int, Path]) -> None:
    """The batch of the recipe is the one over all processes: two of 2 see what one of 4 sees."""
    one, two = ([row["loss"] for row in rows(whole[world]) if "loss" in row] for world in (1, 2))
    assert len(one) == STEPS
    assert one == pytest.approx(two, abs=1e-4)
    assert max(one) - min(one) > 0.05, "a flat curve would prove nothing"


def test_two_processes_share_the_gradients_of_a_part_that_begins_late(images: Path, tmp_path: Path) -> None:
    """Frozen when the networks were wrapped, and again when most of the backbone stays so."""
    part = ("guard.every=1.0", "model.trainable=last-1", "optim.head_warmup_loss=1.0", "optim.head_warmup=0.9")
    runs = {world: tmp_path / f"run{world}" for world in (1, 2)}
    for world, out in runs.items():
        finish(job(images, out, [*LONG, *part]), world)
    one, two = ([row for row in rows(out) if "loss" in row] for out in runs.values())
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in two], abs=1e-4)
    assert [row["lr"] for row in one] == [row["lr"] for row in two]
    assert sum(row["lr"] > 0 for row in one) == 2


def test_a_finished_run_is_not_resumed(images: Path, whole: dict[int, Path]) -> None:
    with pytest.raises(UsageError, match="this run is finished already"):
        train(job(images, whole[1], LONG, resume=True))


def test_a_checkpoint_without_the_best_weights_is_not_resumed(
    images: Path, whole: dict[int, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole[1], out)
    (out / "run.json").write_text(json.dumps({**json.loads((out / "run.json").read_text()), "status": "interrupted"}))
    (out / "checkpoints" / "best.pt").unlink()
    with pytest.raises(WeightsError, match=r"last\.pt cannot be used \(best\.pt beside it is missing\); delete it"):
        train(job(images, out, LONG, resume=True))


@pytest.fixture
def killed(images: Path, tmp_path: Path) -> Path:
    out = tmp_path / "run"
    processes(job(images, out, LONG), shot=(6, signal.SIGKILL))
    return out


def test_another_recipe_or_other_images_are_refused_with_the_difference(
    images: Path, killed: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"changed: recipe\.optim\.lr: 0\.001 -> 0\.5") as caught:
        train(job(images, killed, [*LONG, "optim.lr=0.5"], resume=True))
    assert "\n" not in str(caught.value)
    others = write_textures(tmp_path / "others", each=5, side=40)
    with pytest.raises(UsageError, match="there were 12, now there are 15"):
        train(job(others, killed, LONG, resume=True))
    with pytest.raises(UsageError, match="is not empty"):
        train(job(images, killed, LONG))
