import io
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dinocli.artifacts.feature_file import open_features
from dinocli.errors import WeightsError
from dinocli.models.create import create_backbone
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import load_backbone
from dinocli.models.weights_info import plain_preprocess
from dinocli.progress import ProgressReporter
from dinocli.tasks.cluster.cluster_inputs import open_members
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.cluster.drifted_batch import drift_of, open_batch
from dinocli.tasks.embed import embed_setup, token_choice
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.embed_dry_run import dry_run
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.token_choice import chosen_tokens
from dinocli.tasks.evaluate.evaluate import evaluate
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.feature_inputs import embed_temporarily
from dinocli.tasks.search.search import search
from dinocli.tasks.search.search_options import SearchOptions
from tests.tasks.drive import Ears
from tests.tasks.embed.drive import job, write_images

ASKED = EmbedOptions()
INFO = replace(load_backbone("none", "test_convnext")[1], pretrained=True)


@pytest.mark.parametrize(
    ("model", "options", "images", "kind", "words"),
    [
        ("test_convnext", ASKED, 64, "pooled+rare", "embed other images with --like FILE"),
        ("test_convnext", ASKED, 63, "pooled", "pooled+rare needs 64 images, and there are 63"),
        ("test_vit", ASKED, 64, "pooled+rare", "embed other images with --like FILE"),
        ("test_convnext", replace(ASKED, layers=2), 64, "pooled", "with --layers 2"),
        ("test_convnext", replace(ASKED, shard="0/4"), 64, "pooled", "a shard cannot be fitted to all images"),
        ("test_convnext", replace(ASKED, out="-"), 64, "pooled", "--out - cannot be fitted"),
        ("test_convnext", replace(ASKED, tokens="gem"), 64, "gem", ""),
    ],
)
def test_tokens_are_chosen_by_model_and_folder_with_a_reason(
    model: str, options: EmbedOptions, images: int, kind: str, words: str
) -> None:
    found, said = chosen_tokens(options, create_backbone(model), INFO, images, lambda: nan)
    assert found == kind
    assert words in said
    assert bool(words) == bool(said)


def test_hierarchical_transformers_were_not_measured() -> None:
    backbone = create_backbone("test_vit")
    backbone.architecture = "hierarchical"
    assert chosen_tokens(ASKED, backbone, INFO, 1000, lambda: nan) == (
        "pooled",
        "features: pooled (rare patches were not measured for hierarchical transformers)",
    )


def test_images_like_those_of_the_weights_get_pooled_features() -> None:
    found, said = chosen_tokens(ASKED, create_backbone("test_convnext"), INFO, 64, lambda: 0.3)
    assert found == "pooled"
    assert "these images are like those that the weights were trained on; --tokens pooled+rare adds rare" in said
    assert chosen_tokens(ASKED, create_backbone("test_convnext"), INFO, 64, lambda: 0.35)[0] == "pooled+rare"
    assert chosen_tokens(
        replace(ASKED, tokens="pooled+rare"), create_backbone("test_convnext"), INFO, 64, lambda: 0.3
    ) == (
        "pooled+rare",
        "",
    )


@pytest.mark.parametrize("adapted", [False, True])
def test_the_shift_of_a_folder_decides_unless_the_weights_were_adapted_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, adapted: bool
) -> None:
    monkeypatch.setattr(token_choice, "MIN_RARE_IMAGES", 8)
    monkeypatch.setattr(embed_setup, "shift_of_folder", lambda *_: 0.2)
    backbone, info, _ = load_backbone("none", "test_convnext")
    info = replace(info, pretrained=True, similarity_change=-0.1 if adapted else 0.0)
    save_backbone(tmp_path / "weights", backbone, info, plain_preprocess(info))
    ears = Ears()
    folder = write_images(tmp_path / "images", 8)
    embed(job(folder, tmp_path / "f.npy", weights=str(tmp_path / "weights"), model=""), ears)
    assert open_features(tmp_path / "f.npy").meta["tokens"] == ("pooled+rare" if adapted else "pooled")
    assert any("like those that the weights were trained on" in line for line in ears.lines) is not adapted


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of eight and nine images, enough to be fitted to, each embedded by itself, and one like the other."""
    home = tmp_path_factory.mktemp("token_choice")
    torch.manual_seed(0)
    save_file(create_backbone("test_convnext").model.state_dict(), home / "w.safetensors")
    write_images(home / "old", 8)
    write_images(home / "new", 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_choice, "MIN_RARE_IMAGES", 8)
        for name in ("old", "new"):
            embed(of(home, name))
    embed(of(home, "new", out="like.npy", weights="", model="", size=0, like=str(home / "old.npy")))
    return home


def of(home: Path, name: str, out: str = "", **changed: Any) -> EmbedOptions:
    return job(home / name, home / (out or f"{name}.npy"), **{"weights": str(home / "w.safetensors"), **changed})


def test_the_choice_is_recorded(home: Path) -> None:
    meta = open_features(home / "old.npy").meta
    assert meta["tokens"] == meta["request"]["tokens"] == "pooled+rare"
    assert meta["fitted"]
    assert meta["whitened"]
    assert open_features(home / "like.npy").meta["fitted"] == meta["fitted"]


def test_a_small_folder_gets_pooled_features(home: Path, tmp_path: Path) -> None:
    reporter = Ears()
    options = replace(of(home, "old"), out=str(tmp_path / "f.npy"))
    assert dry_run(options, ProgressReporter())["shape"] == [64]
    embed(options, reporter)
    assert open_features(tmp_path / "f.npy").meta["tokens"] == "pooled"
    assert "features: pooled (pooled+rare needs 64 images, and there are 8)" in reporter.lines


def test_a_stream_gets_pooled_features(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_choice, "MIN_RARE_IMAGES", 8)
    pipe = io.BytesIO()
    embed(replace(of(home, "old"), out="-"), stdout=pipe)
    assert np.load(io.BytesIO(pipe.getvalue())).shape == (8, 64)


def test_folders_fitted_apart_do_not_compare(home: Path) -> None:
    with pytest.raises(WeightsError, match="embed the images of the one with `embed IMAGES --like` the other"):
        search(SearchOptions((str(home / "new.npy"),), str(home / "old.npy"), 1, device="cpu"))
    members = open_members(ClusterOptions((str(home / "old.npy"),)), ProgressReporter(), None)
    with pytest.raises(WeightsError, match="different images to fit rare patches to"):
        open_batch(home / "new.npy", members, ProgressReporter())
    batch = open_batch(home / "like.npy", members, ProgressReporter())
    assert drift_of(batch, members, [], ProgressReporter()).batch.names[-1] == "./008.png"


def test_a_new_image_is_searched_with_the_fit_of_the_file(home: Path) -> None:
    ((query, hits),) = search(
        SearchOptions((str(home / "new/008.png"),), str(home / "old.npy"), 8, device="cpu")
    ).answers
    rows = np.array(open_features(home / "like.npy").rows)
    np.testing.assert_allclose(query.feature_D, rows[8], atol=1e-5)
    assert [hit.row for hit in hits] == np.argsort(-rows[:8] @ rows[8]).tolist()


def test_a_baseline_of_weights_takes_the_same_tokens(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_choice, "MIN_RARE_IMAGES", 8)
    reporter, weights = Ears(), str(home / "w.safetensors")
    options = EvaluateOptions((str(home / "old"),), weights=weights, model="test_convnext", baseline=weights, views=0)
    table = {row.key: row for row in evaluate(replace(options, device="cpu"), reporter).table}
    assert table["rankme"].value == pytest.approx(table["rankme"].baseline, rel=1e-3)
    assert sum("features: pooled+rare" in line for line in reporter.lines) == 1  # the baseline takes what was chosen


def test_images_given_to_a_command_are_embedded_likewise(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_choice, "MIN_RARE_IMAGES", 8)
    file = embed_temporarily(of(home, "old"))
    np.testing.assert_allclose(file.rows, open_features(home / "old.npy").rows, atol=1e-5)
