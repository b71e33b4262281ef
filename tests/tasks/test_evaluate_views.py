"""Scores that look at the images again."""

import json
import math
import shutil
import tarfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file, save_file

from dinocli.artifacts import view_features
from dinocli.artifacts.feature_file import FeatureFile, open_features
from dinocli.artifacts.feature_model import feature_model_of
from dinocli.artifacts.view_features import SAMPLE, _check_images, embed_views
from dinocli.errors import DataError
from dinocli.models.token_kinds import POOLED_RARE
from dinocli.progress import ProgressReporter
from dinocli.quality.crop_quadrant_retrieval import RETRIEVAL_SCORE
from dinocli.quality.defect_few_shot import RARE_DEFECT_SCORE
from dinocli.quality.near_start import near_start
from dinocli.quality.verdict import Verdict, judge
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.evaluate import evaluate as evaluate_module
from dinocli.tasks.evaluate.evaluate import evaluate
from dinocli.tasks.evaluate.evaluate_inputs import _baseline
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from tests.tasks.drive import Ears
from tests.tasks.search.test_search import home, job

__all__ = ["home"]


def test_clean_images_give_the_rows_of_the_file(home: Path) -> None:
    file = open_features(home / "feats.npy")
    seen = embed_views(file, [7, 2, 5], 3, device=torch.device("cpu"), reporter=ProgressReporter())
    assert seen.names == ["./0-2.png", "./1-2.png", "./2-1.png"]
    rows = torch.from_numpy(file.flat()[[2, 5, 7]].copy())
    torch.testing.assert_close(torch.from_numpy(seen.probe.clean_ND), rows, atol=1e-4, rtol=1e-4)
    assert seen.views_QND.shape[:2] == (3, 3)
    assert seen.probe.quadrants_4ND.shape[:2] == (4, 3)
    assert abs(seen.views_QND[0] - seen.views_QND[1]).max() > 0


def test_they_are_in_the_table_and_compared(home: Path) -> None:
    path = str(home / "feats.npy")
    found = evaluate(EvaluateOptions((path,), baseline=path, views=2, device="cpu"))
    rows = {row.key: row for row in found.table}
    assert 0 < rows["retrieval_mrr"].value <= 1
    assert rows[RETRIEVAL_SCORE].value < 0
    assert rows[RETRIEVAL_SCORE].verdict == "no clear difference"
    others = {row.verdict for row in found.table if not row.labels and row.key != RETRIEVAL_SCORE}
    assert others == {""}, "one score decides"
    assert 1 <= rows["lidar"].value <= 8
    assert rows["alignment"].value > 0
    assert math.isnan(
        {row.key: row for row in evaluate(EvaluateOptions((path,), views=1, device="cpu")).table}["lidar"].value
    )
    assert "lidar" not in {row.key for row in evaluate(EvaluateOptions((path,), views=0, device="cpu")).table}


def test_the_verdict_has_the_scores_and_the_words_of_a_training(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    torch.manual_seed(1)
    save_file(
        {name: 0.5 * torch.randn_like(tensor) for name, tensor in load_file(home / "weights.safetensors").items()},
        other,
    )
    embed(replace(job(home, "feats.npy"), weights=str(other), out=str(tmp_path / "other.npy")))
    found = evaluate(EvaluateOptions((str(tmp_path / "other.npy"),), baseline=str(home / "feats.npy"), device="cpu"))
    device, reporter = torch.device("cpu"), ProgressReporter()
    after, before = (
        embed_views(open_features(path), range(9), 1, device=device, reporter=reporter).probe
        for path in (tmp_path / "other.npy", home / "feats.npy")
    )
    start, end = (one.measured(0, before.clean_ND) for one in (before, after))
    by_hand = judge(start, end)
    assert found.verdict == by_hand
    assert found.sentences == [*by_hand.sentences]
    assert found.to_dict()["verdict"]["outcome"] == by_hand.outcome
    (row,) = [row for row in found.table if row.key == RETRIEVAL_SCORE]
    assert (row.value, row.baseline) == (end.selection_score, start.selection_score)


@pytest.mark.parametrize("adapted", [pytest.param(True, id="adapted"), pytest.param(False, id="other weights")])
def test_adapted_weights_are_not_better_on_images_like_those_of_the_baseline(
    home: Path, monkeypatch: pytest.MonkeyPatch, *, adapted: bool
) -> None:
    """As in a training run; other weights of the same network were not adapted to these images."""
    shifts = iter([math.nan if adapted else 0.2, 0.2])
    monkeypatch.setattr(
        view_features, "embed_views", lambda *a, **k: replace(embed_views(*a, **k), variance_shift=next(shifts))
    )
    better = Verdict("better", "adapted", "Significant increase.")
    monkeypatch.setattr(evaluate_module, "judge", lambda *_, **__: better)
    path = str(home / "feats.npy")
    verdict = evaluate(EvaluateOptions((path,), baseline=path, views=1, device="cpu")).verdict
    assert verdict == (near_start(better, 0.2) if adapted else better)


def test_the_shift_is_that_of_weights_that_were_not_adapted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = open_features(home / "feats.npy")
    maker = feature_model_of(file)
    monkeypatch.setattr(view_features, "shift_of", lambda *_: 0.2)
    assert maker.info
    for change, shift in ((0.0, 0.2), (-0.1, math.nan)):
        changed = replace(maker, info=replace(maker.info, similarity_change=change))
        monkeypatch.setattr(view_features, "feature_model_of", lambda *_, changed=changed: changed)
        seen = embed_views(file, range(3), 1, device=torch.device("cpu"), reporter=ProgressReporter())
        assert seen.variance_shift == pytest.approx(shift, nan_ok=True)


def test_the_verdict_also_measures_the_default_feature_if_both_files_hold_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = Mock(wraps=judge)
    monkeypatch.setattr(evaluate_module, "judge", judged)
    rare = str(tmp_path / "rare.npy")
    embed(replace(job(home, "feats.npy"), tokens=POOLED_RARE, out=rare))
    found = evaluate(EvaluateOptions((rare,), baseline=rare, views=1, device="cpu"))
    (row,) = [row for row in found.table if row.key == RARE_DEFECT_SCORE]
    before, after = judged.call_args_list[0].args
    assert row.value == row.baseline == before.rare_defect_score == after.rare_defect_score
    assert len(after.rare_defects_N) == len(after.values_N) == 9
    assert row.value != after.defect_score, "not that of the pooled feature"
    pooled = evaluate(EvaluateOptions((rare,), baseline=str(home / "feats.npy"), views=1, device="cpu"))
    assert RARE_DEFECT_SCORE not in {row.key for row in pooled.table}
    assert not len(judged.call_args_list[1].args[0].rare_defects_N)


def test_they_are_whitened_with_the_rest(home: Path) -> None:
    path = str(home / "feats.npy")
    plain, white = (
        {row.key: row.value for row in evaluate(EvaluateOptions((path,), views=2, whiten=whiten, device="cpu")).table}
        for whiten in (False, True)
    )
    for key in ("feature_std", "alignment", "lidar"):
        assert white[key] != pytest.approx(plain[key], rel=1e-4), key


def test_what_is_embedded_again_is_said_before_and_a_sample_beside_the_table(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SAMPLE, "cpu", 5)
    ears = Ears()
    found = evaluate(EvaluateOptions((str(home / "feats.npy"),), views=1, device="cpu"), ears)
    (said,) = [line for line in ears.lines if "--views 0" in line]
    assert said.startswith("5 images are embedded again, 8 times each at 64 px")
    assert "scores of crops and views are of a sample of 5 of 9 images" in found.notes


def test_images_that_are_gone_are_a_note_and_no_error(home: Path, tmp_path: Path) -> None:
    for name in ("feats.npy", "feats.paths.txt", "feats.json"):
        (tmp_path / name).write_bytes((home / name).read_bytes())
    described = tmp_path / "feats.json"
    described.write_text(described.read_text().replace(str(home / "images"), str(tmp_path / "moved")))
    found = evaluate(EvaluateOptions((str(tmp_path / "feats.npy"),), device="cpu"))
    assert any("its images are gone from" in note for note in found.notes)
    assert RETRIEVAL_SCORE not in {row.key for row in found.table}
    assert found.verdict is None


@pytest.mark.parametrize("kept", [True, False])
def test_images_in_an_archive_are_there(home: Path, tmp_path: Path, *, kept: bool) -> None:
    with tarfile.open(tmp_path / "000.tar", "w") as archive:
        archive.add(home / "images" / "0-0.png", "0-0.png" if kept else "other.png")
    file = replace(open_features(home / "feats.npy"), names=["./000.tar/0-0.png"])
    file = replace(file, meta={**file.meta, "root": str(tmp_path)})
    with nullcontext() if kept else pytest.raises(DataError, match="images are gone"):
        _check_images(file)


def test_a_baseline_is_read_as_the_features_were(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    described = tmp_path / "feats.json"
    meta = json.loads(described.read_text())
    meta |= {"tokens": "mean", "keep_aspect": True, "normalize": True}
    meta["preprocess"] |= {"roi": "0,0,8,8", "page": 1, "channels": [0], "range_policy": "minmax"}
    meta["preprocess"] |= {"range_low": 3.0, "range_high": 90.5, "nodata": [7.0]}
    described.write_text(json.dumps(meta))
    asked = []

    def remember(options: EmbedOptions, *_: object) -> FeatureFile:
        asked.append(options)
        return open_features(home / "feats.npy")

    monkeypatch.setattr("dinocli.tasks.evaluate.evaluate_inputs.embed_temporarily", remember)
    ears = Ears()
    evaluate(EvaluateOptions((str(tmp_path / "feats.npy"),), baseline="weights.pt", views=0, device="cpu"), ears)
    (options,) = asked
    assert (options.weights, options.tokens, options.keep_aspect, options.normalize) == (
        "weights.pt",
        "mean",
        True,
        True,
    )
    read = options.read
    assert (read.roi, read.page, read.channels, read.nodata, read.z) == ("0,0,8,8", 1, (0,), (7.0,), None)
    assert read.range == "fixed:3.0,90.5"
    (warning,) = [line for line in ears.warnings if "different" in line]
    for name in ("--tokens", "--channels", "--page", "--nodata", "--roi", "--range"):
        assert name in warning
    assert "--z" not in warning


def test_a_model_is_named_for_a_baseline_of_tensors_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinocli.tasks.evaluate.evaluate_inputs.embed_temporarily", lambda options, *_: options)
    file, tensors = open_features(home / "feats.npy"), str(home / "weights.safetensors")
    for baseline, model in ((tensors, "test_vit"), ("none", "test_vit"), ("runs/x", ""), ("timm/resnet18", "")):
        asked = EvaluateOptions((str(home / "images"),), weights=tensors, model="test_vit", baseline=baseline)
        embedding: Any = _baseline(asked, file, ProgressReporter())
        assert (embedding.weights, embedding.model) == (baseline, model)


def test_images_are_embedded_and_so_is_a_baseline_of_weights(home: Path) -> None:
    weights = str(home / "weights.safetensors")
    images = (str(home / "images"),)
    found = evaluate(
        EvaluateOptions(images, weights=weights, model="test_convnext", baseline=weights, views=0, device="cpu")
    )
    assert (found.features, found.baseline, found.images) == (weights, weights, 9)
    assert [row.value for row in found.table] == [row.baseline for row in found.table]
