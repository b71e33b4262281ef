import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from dinocli.artifacts.feature_file import open_features
from dinocli.artifacts.feature_model import feature_model_of
from dinocli.artifacts.partial_features import PartialFeatures
from dinocli.engine.rare_features import RareFit
from dinocli.engine.square_resize import squares
from dinocli.errors import DataError, Interrupted, UsageError, WeightsError
from dinocli.models.create import create_backbone
from dinocli.models.rarity_maps import rarity_maps
from dinocli.tasks.embed import rare_fit
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.merge_shards import merge
from dinocli.tasks.search.search import search
from dinocli.tasks.search.search_options import SearchOptions
from tests.tasks.embed.drive import job, write_images


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(create_backbone("test_convnext").model.state_dict(), path)
    return str(path)


def rows_of(path: Path) -> NDArray[np.float32]:
    return np.array(open_features(path).rows)


@pytest.mark.parametrize("kind", ["rare", "pooled+rare"])
@pytest.mark.parametrize("changed", [{}, {"batch_size": 3, "keep_aspect": True}])
def test_rows_are_those_of_a_fit_to_all_images(
    tmp_path: Path, weights: str, kind: str, changed: dict[str, Any]
) -> None:
    folder = write_images(tmp_path / "images", 11, mixed=bool(changed))
    embed(job(folder, tmp_path / "f.npy", kind, weights=weights, **changed))
    file = open_features(tmp_path / "f.npy")
    model = feature_model_of(file)
    found = file.rows
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert file.meta["normalized"]
    assert file.meta["whitened"]
    assert file.meta["rare_share"] == pytest.approx(model.tokens.share)  # type: ignore[attr-defined]
    assert {path.name for path in tmp_path.iterdir()} == {
        "images",
        *(f"f.{end}" for end in ("npy", "json", "paths.txt", "rare.safetensors")),
    }
    if changed:
        return
    fit = RareFit(kind)
    with torch.inference_mode():
        x = squares(list(model._canvas(0, path) for path in sorted(folder.iterdir())), model.preprocess, model.device)
        order = np.random.default_rng(0).permutation(11)
        fit.add(*rarity_maps(model.backbone.eval(), x[order]), [file.names[number] for number in order])
        _, rows = fit.finish()
    np.testing.assert_allclose(found[order], rows, atol=1e-4)


def test_images_outside_the_sample_get_the_same_function(
    tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_images(tmp_path / "images", 20)
    monkeypatch.setattr(rare_fit, "SAMPLE", 6)
    monkeypatch.setattr(rare_fit, "MIN_SAMPLE", 6)
    embed(job(folder, tmp_path / "f.npy", "rare", weights=weights))
    file = open_features(tmp_path / "f.npy")
    model = feature_model_of(file)
    assert len(model.tokens.images) == 6  # type: ignore[attr-defined]
    outside = next(name for name in file.names if name not in model.tokens.images)  # type: ignore[attr-defined]
    (folder / "aa_new.png").write_bytes((folder / outside).read_bytes())
    embed(job(folder, tmp_path / "again.npy", weights="", model="", size=0, like=str(tmp_path / "f.npy")))
    again = open_features(tmp_path / "again.npy")
    places = [again.names.index(name) for name in file.names]
    np.testing.assert_allclose(again.rows[places], file.rows, atol=1e-5)
    copy, original = again.rows[again.names.index("./aa_new.png")], file.rows[file.names.index(outside)]
    np.testing.assert_allclose(copy, original, atol=1e-5)
    assert again.meta["tokens"] == "rare"
    assert (tmp_path / "again.rare.safetensors").is_file()


def test_an_image_is_that_of_the_fit_by_its_place_not_by_its_name_in_another_folder(
    tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_images(tmp_path / "all" / "week1", 12)
    monkeypatch.setattr(rare_fit, "SAMPLE", 6)
    monkeypatch.setattr(rare_fit, "MIN_SAMPLE", 6)
    embed(job(folder, tmp_path / "f.npy", "rare", weights=weights))
    file = open_features(tmp_path / "f.npy")
    fitted = feature_model_of(file).tokens.images  # type: ignore[attr-defined]
    namesake, outside = sorted(fitted)[0], next(name for name in file.names if name not in fitted)
    (tmp_path / "all" / "week2").mkdir()
    (tmp_path / "all" / "week2" / namesake).write_bytes((folder / outside).read_bytes())
    like: dict[str, Any] = {"weights": "", "model": "", "size": 0, "like": str(tmp_path / "f.npy")}
    embed(job(tmp_path / "all" / "week2", tmp_path / "week2.npy", **like))
    row = open_features(tmp_path / "week2.npy").rows[0]
    np.testing.assert_allclose(row, file.rows[file.names.index(outside)], atol=1e-5)
    embed(job(tmp_path / "all", tmp_path / "all.npy", **like))
    both = open_features(tmp_path / "all.npy")
    places = [both.names.index(f"./week1/{name[2:]}") for name in file.names]
    np.testing.assert_allclose(both.rows[places], file.rows, atol=1e-5)
    folder.rename(tmp_path / "moved")
    embed(job(tmp_path / "moved", tmp_path / "moved.npy", **like))
    np.testing.assert_allclose(open_features(tmp_path / "moved.npy").rows, file.rows, atol=1e-5)


def test_a_bad_image_of_the_sample_is_left_out(tmp_path: Path, weights: str) -> None:
    folder = write_images(tmp_path / "images", 9)
    for number in (0, 4, 8):
        (folder / f"{number:03}.png").write_bytes(b"no image")
    embed(job(folder, tmp_path / "f.npy", "rare", weights=weights, max_bad="60%"))
    for number in (0, 4, 8):
        (folder / f"{number:03}.png").unlink()
    embed(job(folder, tmp_path / "g.npy", "rare", weights=weights))
    file = open_features(tmp_path / "f.npy")
    assert file.names == [f"./{number:03}.png" for number in (1, 2, 3, 5, 6, 7)]
    assert np.isfinite(file.rows).all()


def test_one_image_has_no_others(tmp_path: Path, weights: str) -> None:
    folder = write_images(tmp_path / "images", 1)
    with pytest.raises(DataError, match=r"--tokens rare compares images, and 1 can be read: use --tokens pooled"):
        embed(job(folder, tmp_path / "f.npy", "rare", weights=weights))
    assert not (tmp_path / "f.npy").exists()


def test_tiles_are_compared_with_other_images(tmp_path: Path, weights: str) -> None:
    folder = write_images(tmp_path / "images", 5)
    embed(job(folder, tmp_path / "f.npy", "rare", weights=weights, tile="32:8"))
    file = open_features(tmp_path / "f.npy")
    assert len(file) == 5 * 4
    assert np.isfinite(file.rows).all()
    assert sorted(feature_model_of(file).tokens.images) == sorted(set(file.names))  # type: ignore[attr-defined]


def test_shards_need_a_fit_to_all_images(tmp_path: Path, weights: str) -> None:
    folder = write_images(tmp_path / "images", 10)
    with pytest.raises(UsageError, match="is fitted to all images first, so no --shard"):
        job(folder, tmp_path / "s.npy", "rare", weights=weights, shard="0/2")
    with pytest.raises(UsageError, match="leaves a file beside the features, so no --out -"):
        job(folder, Path("-"), "rare", weights=weights)
    embed(job(folder, tmp_path / "f.npy", "rare", weights=weights))
    for shard in ("0/2", "1/2"):
        like = str(tmp_path / "f.npy")
        embed(job(folder, tmp_path / "s.npy", shard=shard, weights="", model="", size=0, like=like))
    merge(str(tmp_path / "s.npy"))
    np.testing.assert_allclose(rows_of(tmp_path / "s.npy"), rows_of(tmp_path / "f.npy"), atol=1e-5)
    np.testing.assert_allclose(
        feature_model_of(open_features(tmp_path / "s.npy")).tokens.whitening.axes_SP,  # type: ignore[attr-defined]
        feature_model_of(open_features(tmp_path / "f.npy")).tokens.whitening.axes_SP,  # type: ignore[attr-defined]
    )


def test_resume_goes_on_with_the_fit_of_before(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_images(tmp_path / "images", 12)
    monkeypatch.setattr(rare_fit, "SAMPLE", 4)
    monkeypatch.setattr(rare_fit, "MIN_SAMPLE", 4)
    embed(job(folder, tmp_path / "whole.npy", "rare", weights=weights))
    add, calls = PartialFeatures.add, list[int]()

    def add_once(self: PartialFeatures, *batch: Any) -> None:
        add(self, *batch)
        self.commit()
        calls.append(1)
        if len(calls) == 2:
            raise OSError("no space left")

    monkeypatch.setattr(PartialFeatures, "add", add_once)
    with pytest.raises(OSError, match="no space left"):
        embed(job(folder, tmp_path / "f.npy", "rare", weights=weights))
    monkeypatch.setattr(rare_fit, "SAMPLE", 5)  # another fit would give other rows
    embed(job(folder, tmp_path / "f.npy", "rare", weights=weights, resume=True))
    assert len(calls) == 3
    np.testing.assert_allclose(rows_of(tmp_path / "f.npy"), rows_of(tmp_path / "whole.npy"), atol=1e-5)
    assert not (tmp_path / ".f.npy.rare").exists()


def test_a_signal_during_the_fit_ends_it(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_images(tmp_path / "images", 12)
    with monkeypatch.context() as patch:
        patch.setattr(RareFit, "add", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(
            Interrupted, match="after 0 of 12; run the same command with --resume to continue"
        ) as stopped:
            embed(job(folder, tmp_path / "f.npy", "rare", weights=weights))
    assert stopped.value.signal == signal.SIGTERM
    embed(job(folder, tmp_path / "f.npy", "rare", weights=weights, resume=True))
    assert len(open_features(tmp_path / "f.npy")) == 12


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"weights": "other"}, "--weights and --like both say"),
        ({"size": 64}, "--size and --like both say"),
        ({"kind": "gem"}, "--tokens gem is not that of"),
        ({"range": "full"}, "--range and --like both say"),
    ],
)
def test_like_takes_all_of_the_file(tmp_path: Path, weights: str, changed: dict[str, Any], words: str) -> None:
    folder = write_images(tmp_path / "images", 4)
    embed(job(folder, tmp_path / "f.npy", weights=weights))
    usual = {"weights": "", "model": "", "size": 0, "like": str(tmp_path / "f.npy")}
    with pytest.raises(UsageError, match=words):
        embed(job(folder, tmp_path / "g.npy", **{**usual, **changed}))


def test_like_serves_pooled_features_too(tmp_path: Path, weights: str) -> None:
    folder = write_images(tmp_path / "images", 6)
    embed(job(folder, tmp_path / "f.npy", "mean", weights=weights, size=64, normalize=True))
    embed(job(folder, tmp_path / "g.npy", weights="", model="", size=0, like=str(tmp_path / "f.npy")))
    np.testing.assert_allclose(rows_of(tmp_path / "g.npy"), rows_of(tmp_path / "f.npy"), atol=1e-6)
    assert json.loads((tmp_path / "g.json").read_text())["preprocess"]["size"] == 64


def test_a_query_from_the_folder_finds_itself_by_its_path(tmp_path: Path, weights: str) -> None:
    folder = write_images(tmp_path / "images", 8)
    embed(job(folder, tmp_path / "f.npy", "rare", weights=weights))
    ((_, hits),) = search(SearchOptions((str(folder / "005.png"),), str(tmp_path / "f.npy"), 1, device="cpu")).answers
    assert hits[0].name == "./005.png"
    assert hits[0].cosine == pytest.approx(1, abs=1e-4)


def test_features_are_whitened_once(tmp_path: Path, weights: str) -> None:
    folder = write_images(tmp_path / "images", 8)
    embed(job(folder, tmp_path / "f.npy", "rare", weights=weights))
    embed(job(folder, tmp_path / "g.npy", "mean", weights=weights))
    heard: list[str] = []
    assert not open_features(tmp_path / "f.npy").needs_whitening(True, heard.append)
    assert "whitened already" in heard.pop()
    assert open_features(tmp_path / "g.npy").needs_whitening(True, heard.append)
    assert not open_features(tmp_path / "g.npy").needs_whitening(False, heard.append)
    assert not heard
    queries, file = ("./005.png",), str(tmp_path / "f.npy")
    asked = SearchOptions(queries, file, 3, device="cpu")
    ((_, plain),), ((_, white),) = (search(replace(asked, whiten=ask)).answers for ask in (False, True))
    assert plain == white


def test_features_fitted_to_other_images_are_no_queries(tmp_path: Path, weights: str) -> None:
    folder = write_images(tmp_path / "images", 9)
    embed(job(folder, tmp_path / "f.npy", "rare", weights=weights))
    (folder / "008.png").unlink()
    embed(job(folder, tmp_path / "other.npy", "rare", weights=weights))
    embed(job(folder, tmp_path / "like.npy", weights="", model="", size=0, like=str(tmp_path / "f.npy")))
    with pytest.raises(WeightsError, match="made with different images to fit rare patches to"):
        search(SearchOptions((str(tmp_path / "other.npy"),), str(tmp_path / "f.npy"), 1, device="cpu"))
    found = search(SearchOptions((str(tmp_path / "like.npy"),), str(tmp_path / "f.npy"), 1, device="cpu"))
    assert [hits[0].name for _, hits in found.answers] == [f"./{number:03}.png" for number in range(8)]


def test_transformers_have_rare_patches_too(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 6)
    torch.manual_seed(0)
    backbone = create_backbone("test_vit")
    save_file(backbone.model.state_dict(), tmp_path / "vit.safetensors")
    own: dict[str, Any] = {"weights": str(tmp_path / "vit.safetensors"), "model": "test_vit", "size": 64}
    embed(job(folder, tmp_path / "f.npy", "pooled+rare", **own))
    assert open_features(tmp_path / "f.npy").rows.shape == (6, backbone.dim + 2 * backbone.map_dim + 2)
    embed(job(folder, tmp_path / "g.npy", weights="", model="", size=0, like=str(tmp_path / "f.npy")))
    np.testing.assert_allclose(rows_of(tmp_path / "g.npy"), rows_of(tmp_path / "f.npy"), atol=1e-5)
