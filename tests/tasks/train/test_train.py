"""Whole runs in this process: one that learns, one of each kind that stops, and what they leave behind."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file

from dinocli.config.load import load_recipe
from dinocli.config.preprocess import Preprocess
from dinocli.engine.checkpoint import load_checkpoint, save_checkpoint
from dinocli.engine.loop import STALLED, Trainer, run_probe
from dinocli.engine.probe import Probe
from dinocli.engine.run_seconds import Costs
from dinocli.errors import DinocliError, Interrupted, TrainingStopped, WeightsError
from dinocli.models.weights import load_backbone
from dinocli.quality.verdict import Verdict
from dinocli.tasks.train.run_report import TrainResult
from dinocli.tasks.train.train import train
from tests.engine.test_trackers import Memory
from tests.shortcuts import FEW_PICTURES, replace_values
from tests.tasks.drive import Ears, job
from tests.textures import write_textures

STEPS = 40
LEARNING = (
    "model.name=test_resnet",
    "views.global_size=32",
    "views.local_size=16",
    "views.brightness=0.4",
    "views.contrast=0.4",
    "views.jitter=1.0",
    "views.vflip=0",
    "views.rot90=0",
    "data.short_side=48",
    "head.out_dim=256",
    "head.hidden_dim=128",
    "head.bottleneck_dim=64",
    f"run.steps={STEPS}",
    "run.batch_size=16",
    "run.seed=3",
    "guard.every=0.5",
    "guard.probe_images=24",
)
SHORT = ("run.steps=8", "guard.every=0.25", "guard.window=0.25", "run.log_every=1", "guard.probe_images=8")


@pytest.fixture(autouse=True)
def few_pictures() -> Iterator[None]:
    """Only `learnt`, which is made before, has all pictures."""
    with pytest.MonkeyPatch.context() as patch:
        replace_values(patch, FEW_PICTURES)
        yield


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_textures(tmp_path_factory.mktemp("few"), each=4, side=40)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    home = tmp_path_factory.mktemp("learnt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        images = write_textures(home / "images", each=20, side=48, seed=3)
        outcome = train(job(images, home / "runs" / "first", LEARNING, labels="folder"))
    assert outcome is not None
    return outcome


@pytest.fixture(scope="module")
def said(few: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, Ears]:
    """Two steps on 12 images and a broken one, with a label column that says nothing and one that does."""
    home = tmp_path_factory.mktemp("said")
    images = home / "few"
    shutil.copytree(few, images)
    (images / "coarse" / "zz.png").write_bytes(b"no image")
    names = [f"./{path.relative_to(images)}" for path in sorted(images.rglob("*.png"))]
    rows = [f"{name},cell,{number % 2}" for number, name in enumerate(names)]
    (home / "labels.csv").write_text("\n".join(["path,what,side", *rows]))
    ears = Ears()
    labels = str(home / "labels.csv")
    asked = job(images, home / "run", [*SHORT, "run.steps=2", "data.max_bad=2"], labels=labels)  # a number, too
    with pytest.MonkeyPatch.context() as patch:
        replace_values(patch, FEW_PICTURES)
        patch.chdir(home)
        result = train(asked, ears)
    assert result is not None
    return result, ears


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def run_json(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return data


def test_a_run_raises_the_knn_accuracy_of_unseen_labels(learnt: TrainResult) -> None:
    """By nearest neighbours, on labels that the run never saw: from 0.53 to 0.68."""
    lines = {line.name: line for line in learnt.labelled}
    accuracy = lines["k-NN accuracy, folder"]
    assert accuracy.adapted > accuracy.start + 0.1
    assert learnt.best_step > 0
    assert learnt.steps == STEPS
    assert (learnt.images, learnt.bad) == (60, 0)


def test_the_folder_holds_what_the_design_says(learnt: TrainResult) -> None:
    kept = {str(path.relative_to(learnt.folder)) for path in learnt.folder.rglob("*") if path.is_file()}
    assert kept == {
        "recipe.toml",
        "run.json",
        "metrics.jsonl",
        "views.png",
        "report.html",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
        "backbone/config.json",
        "backbone/model.safetensors",
        "adapted/config.json",
        "adapted/model.safetensors",
    }
    data = run_json(learnt.folder)
    assert data["status"] == "finished"
    assert data["outcome"]["verdict"]["keep"] == learnt.verdict.keep
    assert data["weights"]["source"] == "none"
    assert (learnt.folder.parent / "latest").read_text().strip() == learnt.folder.name
    recipe = load_recipe([str(learnt.folder / "recipe.toml")])
    assert recipe.model_dump(mode="json") == data["recipe"]
    assert json.dumps(learnt.to_dict())


def test_trained_weights_that_the_verdict_does_not_keep_are_in_adapted(said: tuple[TrainResult, Ears]) -> None:
    result, _ = said
    assert (result.verdict.keep, result.best_step > 0) == ("start", True)
    best = load_checkpoint(result.folder / "checkpoints" / "best.pt", torch.device("cpu"))["backbone"]
    adapted, _, preprocess = load_backbone(str(result.folder / "adapted"))
    assert all(torch.equal(best[f"model.{key}"], value) for key, value in adapted.model.state_dict().items())
    assert preprocess == load_backbone(str(result.folder))[2]
    assert result.advice[0].endswith(f"The trained ones: --weights {result.folder}/adapted.")
    best_path = str(result.folder / "checkpoints" / "best.pt")
    with pytest.raises(WeightsError, match=f"a checkpoint of a run: give {result.folder} or {result.folder}/adapted$"):
        load_backbone(best_path)


def test_a_checkpoint_as_weights_names_only_folders_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "run.json").write_text("{}")
    save_checkpoint(tmp_path / "checkpoints" / "last.pt", {"step": 1})
    with pytest.raises(WeightsError, match=f"a checkpoint of a run: {tmp_path} has no weights yet: continue the run"):
        load_backbone(str(tmp_path / "checkpoints" / "last.pt"))
    (tmp_path / "backbone").mkdir()
    with pytest.raises(WeightsError, match=f"a checkpoint of a run: give {tmp_path}$"):
        load_backbone(str(tmp_path / "checkpoints" / "last.pt"))


def test_a_run_whose_last_weights_are_not_finite_is_worse_and_keeps_the_start(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(trainer: Trainer, step: int) -> None:
        for parameter in trainer.learner.teacher.backbone.parameters():
            parameter.data.fill_(float("nan"))
        run_probe(trainer, step)

    monkeypatch.setattr("dinocli.engine.loop.run_probe", broken)
    ears = Ears()
    ended = train(job(few, tmp_path / "run", [*SHORT, "run.steps=2", "guard.every=1"]), ears)
    assert ended is not None
    assert (ended.verdict.outcome, ended.verdict.keep, ended.best_step) == ("worse", "start", 2)
    assert "not finite" in ended.verdict.reason
    assert "changed too much" in " ".join(ended.advice)
    assert ears.warnings[-1] == "training gave no usable features"
    assert all(score["adapted"] is None for score in run_json(ended.folder)["outcome"]["scores"])
    assert not (ended.folder / "adapted").exists()
    assert "got worse" in (ended.folder / "report.html").read_text()


def test_every_step_is_written_down_once(learnt: TrainResult) -> None:
    rows = [json.loads(line) for line in (learnt.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [*range(1, STEPS + 1)]
    assert [row["step"] for row in rows if "probe" in row] == [0, STEPS // 2, STEPS]
    assert all(0 <= row["entropy"] <= 1.001 and not row["skipped"] for row in rows if "loss" in row)


def test_the_backbone_is_what_the_verdict_keeps_and_timm_loads_it(learnt: TrainResult) -> None:
    folder = learnt.folder / "backbone"
    best = load_checkpoint(learnt.folder / "checkpoints" / "best.pt", torch.device("cpu"))
    assert best["step"] == learnt.best_step
    torch.manual_seed(3)
    start, _, _ = load_backbone("none", "test_resnet")
    adapted = {key.removeprefix("model."): value for key, value in best["backbone"].items()}
    assert learnt.alpha == 1.0, "random weights are interpolated with nothing"
    expected = adapted if learnt.verdict.keep == "adapted" else start.model.state_dict()
    saved = load_file(folder / "model.safetensors")
    assert saved.keys() == expected.keys()
    assert all(torch.equal(saved[key], expected[key]) for key in saved)
    assert any(not torch.equal(adapted[key], value) for key, value in start.model.state_dict().items())
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert all(torch.equal(value, saved[key]) for key, value in loaded.state_dict().items() if key in saved)
    images = torch.randn(2, 3, 64, 64)
    backbone, info, stored = load_backbone(str(learnt.folder))
    with torch.no_grad():
        torch.testing.assert_close(backbone.eval()(images), loaded(images), atol=1e-4, rtol=1e-4)  # kernels may differ
    assert info.pretrained
    assert stored is not None
    assert Preprocess.from_dict(stored).grey is True


def stopped(images: Path, out: Path, *settings: str) -> str:
    """Run into the guard; return the sentence, after checking what is left behind."""
    with pytest.raises(TrainingStopped) as caught:
        train(job(images, out, [*SHORT, *settings]))
    assert "\n" not in str(caught.value)
    assert run_json(out)["status"] == "stopped"
    assert "worse" in (out / "report.html").read_text()
    torch.manual_seed(0)
    start, _, _ = load_backbone("none", "vit_of_two_blocks")
    saved = load_file(out / "backbone" / "model.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in start.model.state_dict().items())
    return str(caught.value)


def test_uniform_collapse_stops_and_leaves_the_original_weights(few: Path, tmp_path: Path) -> None:
    hot = [f"dino.{key}=50.0" for key in ("student_temp", "teacher_temp", "warmup_teacher_temp")]
    text = stopped(few, tmp_path / "run", *hot)
    assert text.startswith("step 4: the loss stays at ln K = 4.16")
    assert "lower the teacher's temperature" in text
    assert str(tmp_path / "run" / "backbone") in text


def test_values_that_are_not_finite_stop(few: Path, tmp_path: Path) -> None:
    text = stopped(few, tmp_path / "run", "optim.lr=1e30", "dino.teacher_momentum=1.0", "guard.every=1.0")
    assert "steps in a row gave values that are not finite; lower the learning rate" in text


def test_without_guard_stop_a_collapse_is_a_warning(few: Path, tmp_path: Path) -> None:
    hot = [f"dino.{key}=50.0" for key in ("student_temp", "teacher_temp", "warmup_teacher_temp")]
    ears = Ears()
    settings = (*SHORT, *hot, "guard.stop=false", "guard.patience=1", "guard.every=0.5")
    outcome = train(job(few, tmp_path / "run", settings), ears)
    assert outcome is not None
    assert outcome.steps == 8
    assert sum("ln K" in warning for warning in ears.warnings) == 1, "said once, not at every step"
    probed = [row["step"] for row in metrics(tmp_path / "run") if "probe" in row]
    assert probed == [0, 4, 8], "the guard goes on"


def test_a_signal_during_the_last_probe_or_the_verdict_leaves_a_run_to_resume(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (*SHORT, "run.steps=2", "guard.every=1.0", "guard.patience=1")

    def shot(*given: Any) -> None:
        run_probe(*given)
        if given[-1] == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("dinocli.engine.loop.run_probe", shot)
    with pytest.raises(Interrupted, match="stopped by a signal after step 2 of 2"):
        train(job(few, tmp_path / "run", whole))
    monkeypatch.undo()

    def terminated(*_: Any) -> None:
        raise SystemExit(143)

    monkeypatch.setattr("dinocli.tasks.train.train.select", terminated)
    ears = Ears()
    with pytest.raises(SystemExit):
        train(job(few, tmp_path / "run", whole, resume=True), ears)
    assert ears.warnings[-1] == f"{tmp_path / 'run'} is not finished; run the same command with --resume to continue"
    assert run_json(tmp_path / "run")["status"] == "interrupted"
    monkeypatch.undo()
    outcome = train(job(few, tmp_path / "run", whole, resume=True))
    assert outcome is not None
    assert (outcome.steps, run_json(tmp_path / "run")["status"]) == (2, "finished")


def test_model_and_unreadable_images_are_reported(said: tuple[TrainResult, Ears]) -> None:
    result, ears = said
    assert (result.images, result.bad) == (12, 1)
    assert any("vit_of_two_blocks from scratch" in line for line in ears.lines)
    assert any("1 image cannot be read" in warning for warning in ears.warnings)
    assert "zz.png" in (result.folder / "images.bad.csv").read_text()


def test_a_label_that_all_images_share_is_named_and_left_out(said: tuple[TrainResult, Ears]) -> None:
    result, ears = said
    assert [line.name for line in result.labelled] == ["k-NN accuracy, side", "k-NN macro F1, side"]
    assert [line.key for line in result.labelled] == ["knn20_accuracy/side", "knn20_macro_f1/side"]
    assert "label column what has fewer than two classes: no score can be computed with it" in ears.warnings


def test_the_verdict_says_how_many_images_the_guard_knew(said: tuple[TrainResult, Ears]) -> None:
    result, ears = said
    words = "8 images (4 also used for selection, with other crops)"
    assert any(words in line for line in ears.lines)
    assert words in (result.folder / "report.html").read_text()


def test_a_run_with_nothing_to_select_among_measures_start_and_end_once(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract, measured, ears = Probe.extract, list[Probe](), Ears()

    def counted(probe: Probe, *given: Any) -> Any:
        measured.append(probe)
        return extract(probe, *given)

    monkeypatch.setattr(Probe, "extract", counted)
    outcome = train(job(few, tmp_path / "run", [*SHORT, "run.steps=1"]), ears)
    assert outcome is not None
    assert len(measured) == 2
    assert measured[0] is measured[1]
    assert "comparing step 1 with the start on 8 images" in ears.lines
    start, end = (row["probe"] for row in metrics(outcome.folder) if "probe" in row)
    line = outcome.lines[0]
    assert (line.start, line.adapted) == (start["selection_score"], end["selection_score"])


class StepsDone(Exception):
    """Ends a run whose steps are all that is looked at."""


def end(*_: Any) -> None:
    raise StepsDone


@pytest.mark.parametrize("place", ["initialize", "run"])
def test_an_error_ends_the_run_of_the_trackers_as_failed(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    memory = Memory(fails_at=-1)
    monkeypatch.setattr("dinocli.engine.build.open_trackers", lambda *_: [memory])
    monkeypatch.setattr(f"dinocli.tasks.train.train.{place}", end)
    with pytest.raises(StepsDone):
        train(job(few, tmp_path / "out", SHORT))
    assert memory.rows[-1] == (-1, {"failed": True})


def test_another_seed_is_another_run_and_the_same_is_the_same(
    said: tuple[TrainResult, Ears], few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinocli.tasks.train.train.select", end)
    losses = {"a": [row["loss"] for row in metrics(said[0].folder) if "loss" in row]}
    for name, seed in (("b", 0), ("c", 1)):
        with pytest.raises(StepsDone):
            train(job(few, tmp_path / name, [*SHORT, "run.steps=2", "guard.every=1.0", f"run.seed={seed}"]))
        losses[name] = [row["loss"] for row in metrics(tmp_path / name) if "loss" in row]
    assert losses["a"] == losses["b"] != losses["c"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.trainable=lora", "no attention to change"),
        ("model.trainable=attn-proj", "no part model.trainable=attn-proj"),
        ("model.trainable=last-99", "last-99"),
    ],
)
def test_impossible_parts_are_refused_before_an_image_is_read(
    setting: str, words: str, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinocli.tasks.train.setup.survey_images", lambda *_, **__: pytest.fail("images were read"))
    with pytest.raises(DinocliError, match=words):
        train(job(few, tmp_path / "run", [*SHORT, "model.name=test_resnet", setting]))


def test_minutes_become_steps_that_are_kept(few: Path, tmp_path: Path) -> None:
    asked = replace(job(few, tmp_path / "run", [*SHORT, "guard.every=1.0"]), minutes=0.001)
    outcome = train(asked)
    assert outcome is not None
    assert outcome.steps == 1, "a budget that is gone already still takes one step"
    assert load_recipe([str(tmp_path / "run" / "recipe.toml")]).run.steps == 1


def test_labels_that_no_time_is_left_for_are_named(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Costs(head_step=0.1, step=0.1, forward=0.001, probe_image=0.003)
    monkeypatch.setattr("dinocli.tasks.train.budget.measure_costs", lambda *_: measured)
    monkeypatch.setattr("dinocli.tasks.train.report_page.MIN_COMPARED_IMAGES", 4)
    asked = job(few, tmp_path / "run", [*SHORT, "guard.every=1.0", "run.steps=1"], labels="folder")
    ears = Ears()
    started = time.monotonic() - 3599.0  # the command began an hour ago
    outcome = train(replace(asked, minutes=59), ears, started=started)
    assert outcome is not None
    assert outcome.labelled == []
    assert any(line.startswith("no time of --minutes is left to measure labels") for line in ears.warnings)
    assert "no time of --minutes is left for the pictures of report.html" in ears.lines
    assert (outcome.folder / "report.html").read_text().count("data:image/png;base64,") == 1, "the views"


def test_a_run_that_is_slower_than_planned_ends_when_the_time_is_up(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinocli.tasks.train.train.seconds_to_train", lambda *_: 0.0)
    ears = Ears()
    outcome = train(job(few, tmp_path / "run", [*SHORT, "run.save_every=1000"]), ears)
    assert outcome is not None
    assert (outcome.steps, outcome.best_step) == (1, 1), "one step at least, and a probe after it"
    assert "ended at step 1 of 8: the time limit was reached" in ears.lines
    assert run_json(tmp_path / "run")["status"] == "finished"
    assert "1 of 8 (the time limit was reached)" in (tmp_path / "run" / "report.html").read_text()


def test_a_missing_extra_is_named_before_an_image_is_read(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinocli.engine.trackers.find_spec", lambda _: None)
    monkeypatch.setattr("dinocli.tasks.train.setup.survey_images", lambda *_, **__: pytest.fail("images were read"))
    for name in ("tensorboard", "mlflow"):
        with pytest.raises(WeightsError, match=rf"pip install 'dinocli\[{name}\]'"):
            train(job(few, tmp_path / "run", [*SHORT, f'run.track=["{name}"]']))
    assert not (tmp_path / "run").exists(), "the corrected command finds a free folder"


def test_the_best_interpolation_with_the_start_is_kept(
    few: Path, tmp_path: Path, learnt: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Continuing from trained weights: every alpha is measured, and the best one is what `backbone/` holds."""
    better = Verdict("better", "adapted", "as if it were")
    monkeypatch.setattr("dinocli.engine.holdout_comparison.final_verdict", lambda *_: better)
    again = (
        *SHORT,
        "run.steps=2",
        "guard.every=1.0",
        "model.name=",
        f"model.weights={learnt.folder}",
        "guard.weight_interpolation=[0.5, 1.0]",
    )
    outcome = train(job(few, tmp_path / "run", again))
    assert outcome is not None
    assert [alpha for alpha, _ in outcome.tried] == [0.0, 0.5, 1.0]
    scores = dict(outcome.tried)
    assert scores[outcome.alpha] == max(scores[0.5], scores[1.0])
    best = load_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt", torch.device("cpu"))["backbone"]
    start, _, _ = load_backbone(str(learnt.folder))
    saved = load_file(tmp_path / "run" / "backbone" / "model.safetensors")
    alpha = outcome.alpha
    for key, value in start.model.state_dict().items():
        if value.is_floating_point():
            expected = (1 - alpha) * value + alpha * best[f"model.{key}"]
            torch.testing.assert_close(saved[key], expected, atol=1e-6, rtol=1e-5)
    assert "Weight interpolation" in (tmp_path / "run" / "report.html").read_text()
    assert load_backbone(str(learnt.folder))[1].similarity_change == 0, "random weights tell nothing of the images"
    change = load_backbone(str(tmp_path / "run"))[1].similarity_change
    assert -1 < change < 1
    assert change, "for the share of rare patches in `embed`"


def test_a_run_ends_when_nothing_gets_better(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run so hot that its features only get narrower."""
    hot = ("run.steps=10", "guard.every=0.1", "guard.patience=0.3", "guard.window=0.1", "guard.stop=false")
    harm = ("optim.lr=0.05", "optim.head_lr=0.05", "dino.teacher_momentum=0.5")
    ears = Ears()
    outcome = train(job(few, tmp_path / "run", [*SHORT, *hot, *harm]), ears)
    assert outcome is not None
    assert outcome.steps < 10
    assert outcome.best_step <= outcome.steps - 3
    assert any(line == f"ended at step {outcome.steps} of 10: {STALLED}" for line in ears.lines)
    assert run_json(tmp_path / "run")["status"] == "finished"
    monkeypatch.setattr("dinocli.tasks.train.train.select", end)
    with pytest.raises(StepsDone):
        train(job(few, tmp_path / "patient", [*SHORT, *hot, *harm, "guard.patience=1.0", "guard.every=0.5"]))
    assert metrics(tmp_path / "patient")[-1]["step"] == 10


def test_adapted_batch_norm_has_a_probe_of_its_own_and_is_shared_by_both_networks(few: Path, tmp_path: Path) -> None:
    sparse = ("run.steps=2", "guard.every=0.5", "guard.window=1.0")
    settings = (*SHORT, *sparse, "model.name=test_resnet", "model.batch_norm=adapted")
    outcome = train(job(few, tmp_path / "run", settings))
    assert outcome is not None
    rows = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    probed = [row for row in rows if "probe" in row]
    assert [row["step"] for row in probed] == [0, 0, 1, 2]
    assert probed[0]["probe"]["cka_to_start"] == pytest.approx(1.0)
    assert probed[1]["probe"]["cka_to_start"] < 0.9999
    last = load_checkpoint(outcome.folder / "checkpoints" / "last.pt", torch.device("cpu"))
    means = {key: value for key, value in last["student"].items() if key.endswith("running_mean")}
    assert means
    assert all(torch.equal(value, last["teacher"][key]) for key, value in means.items())
    assert all(value.any() for value in means.values()), "a fresh network's means are zero"
    assert [gain.part for gain in outcome.verdict.gains] == ["batch-norm statistics", "training"]
    assert all(line.statistics is not None for line in outcome.lines)
    page = (outcome.folder / "report.html").read_text()
    assert "Contribution of each part" in page
    assert run_json(outcome.folder)["outcome"]["verdict"]["gains"][0]["part"] == "batch-norm statistics"


def test_the_report_puts_both_sides_beside_each_other(learnt: TrainResult) -> None:
    page = (learnt.folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2, "patches, views"
    assert page.count("data:image/webp;base64,") == 6 * (1 + 2 * 5), "six images, their neighbours by both"
    for words in ("by start and by adapted weights", "Patch features of the same images", "two runs of k-means agree"):
        assert words in page
    for words in ("Command line", "recipe.toml", "How to read this page", "Next steps"):
        assert (words in page) == (words != "Next steps" or bool(learnt.advice)), words
    assert page.index("Nearest neighbours") < page.index("Without labels") < page.index("<h2>Curves</h2>")
