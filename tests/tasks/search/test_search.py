import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from dinocli.artifacts.feature_file import open_features
from dinocli.errors import DataError, UsageError, WeightsError
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.inputs import ReadOptions
from dinocli.tasks.search.search import search
from dinocli.tasks.search.search_options import SearchOptions
from tests.cli.commands import warm
from tests.tasks.drive import Ears


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine 16-bit images of three kinds, weights, and the features of the images."""
    home = tmp_path_factory.mktemp("search")
    random = np.random.default_rng(0)
    (home / "images").mkdir()
    for kind in range(3):
        pattern = random.integers(500, 3500, (12, 12)).repeat(4, 0).repeat(4, 1)
        for copy in range(3):
            pixels = (pattern + random.integers(0, 60, pattern.shape)).astype(np.uint16)
            Image.fromarray(pixels).save(home / "images" / f"{kind}-{copy}.png")
    torch.manual_seed(0)
    save_file(timm.create_model("test_convnext").state_dict(), str(home / "weights.safetensors"))
    embed(job(home, "feats.npy"))
    return home


def job(home: Path, out: str) -> EmbedOptions:
    weights = str(home / "weights.safetensors")
    more = {"size": 64, "device": "cpu", "precision": "fp32", "note": False, "read": ReadOptions(workers=0)}
    return EmbedOptions((str(home / "images"),), str(home / out), weights=weights, model="test_convnext", **more)  # type: ignore[arg-type]


def ask(home: Path, *queries: str, file: str = "feats.npy", count: int = 2) -> list[list[str]]:
    found = search(SearchOptions(queries, str(home / file), count, device="cpu"))
    return [[hit.name for hit in hits] for _, hits in found.answers]


def test_a_row_finds_its_like_and_not_itself(home: Path) -> None:
    found = ask(home, "1-0.png", "./2-1.png")
    assert sorted(found[0]) == ["./1-1.png", "./1-2.png"]
    assert sorted(found[1]) == ["./2-0.png", "./2-2.png"]


def test_patterns_of_names_without_images_to_choose_from_are_refused(home: Path) -> None:
    rows = SearchOptions((str(home / "feats.npy"),), str(home / "feats.npy"), rows=("1-0.png",), include=("2-*",))
    with pytest.raises(UsageError, match="--include: no query is an image, and results are not filtered"):
        search(rows)
    found = search(replace(rows, queries=(str(home / "images"),), rows=(), device="cpu")).answers
    assert len(found) == 3


def test_whitened_search_finds_the_same_kind_with_other_cosines(home: Path) -> None:
    def hits(*, whiten: bool) -> dict[str, float]:
        asked = SearchOptions(("1-0.png", str(home / "images" / "2-1.png")), str(home / "feats.npy"), 2, "", "cpu")
        (_, row), (query, image) = search(replace(asked, whiten=whiten)).answers
        assert image[0].name == "./2-1.png", "an image on the disk finds itself"
        assert image[0].cosine == pytest.approx(1, abs=1e-4)
        assert len(query.feature_D) == open_features(home / "feats.npy").flat().shape[1]
        return {hit.name: hit.cosine for hit in row}

    plain, white = hits(whiten=False), hits(whiten=True)
    assert sorted(white) == sorted(plain) == ["./1-1.png", "./1-2.png"]
    assert white != plain


def test_an_image_is_embedded_as_the_file_was(home: Path) -> None:
    # in its own range this image would be brighter; in the range of the file it is what it was
    found = search(SearchOptions((str(home / "images" / "0-1.png"),), str(home / "feats.npy"), 3, device="cpu"))
    (query, hits), *none = found.answers
    assert not none
    assert hits[0].name == "./0-1.png"
    assert hits[0].cosine == pytest.approx(1, abs=1e-5)
    assert hits[0].path == home / "images" / "0-1.png"
    np.testing.assert_allclose(query.feature_D, open_features(home / "feats.npy").flat()[1], atol=1e-6)


def test_images_outside_the_range_of_the_file_are_noted(home: Path, tmp_path: Path) -> None:
    (tmp_path / "bright").mkdir()
    pixels = np.random.default_rng(0).integers(9_000, 15_000, (48, 48)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "bright" / "1.png")
    asking, following = Ears(), Ears()
    search(SearchOptions((str(tmp_path / "bright"),), str(home / "feats.npy"), 1, device="cpu"), asking)
    like = replace(job(home, str(tmp_path / "f.npy")), weights="", model="", size=0, like=str(home / "feats.npy"))
    embed(replace(like, inputs=(str(tmp_path / "bright"),)), following)
    assert asking.warnings == following.warnings
    (warning,) = asking.warnings
    assert warning.startswith("100% of the pixels lie outside")
    file = home / "feats.npy"
    assert warning.endswith(f"the range of {file}, and are clipped; a --range can fit both: make {file} again with it")


def test_queries_keep_the_aspect_if_the_file_does(home: Path, tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    random = np.random.default_rng(0)
    for name, size in (("wide", (40, 90)), ("high", (90, 40)), ("square", (50, 50))):
        Image.fromarray(random.integers(0, 255, size).astype(np.uint8)).save(tmp_path / "long" / f"{name}.png")
    embed(replace(job(home, str(tmp_path / "f.npy")), inputs=(str(tmp_path / "long"),), keep_aspect=True))
    found = search(SearchOptions((str(tmp_path / "long"),), str(tmp_path / "f.npy"), 1, device="cpu"))
    queries = np.stack([query.feature_D for query, _ in found.answers])
    np.testing.assert_allclose(queries, open_features(tmp_path / "f.npy").flat(), atol=1e-6)


def test_a_folder_and_a_feature_file_are_many_queries(home: Path) -> None:
    found = search(SearchOptions((str(home / "images"),), str(home / "feats.npy"), 2, device="cpu"))
    assert len(found.answers) == 9
    assert Path(found.answers[0][0].name).resolve() == home / "images" / "0-0.png", "two folders may hold equal names"
    embed(job(home, "other.npy"))
    assert [hits[0] for hits in ask(home, str(home / "other.npy"))] == open_features(home / "feats.npy").names


def test_other_weights_preprocessing_or_tokens_are_refused(home: Path) -> None:
    torch.manual_seed(1)
    save_file(timm.create_model("test_convnext").state_dict(), str(home / "others.safetensors"))
    plain = job(home, "q.npy")
    for changed, word in (
        (replace(plain, weights=str(home / "others.safetensors")), "weights"),
        (replace(plain, size=32), "--size 32 and 64, so"),
        (replace(plain, read=ReadOptions(range="fixed:0,65535")), "--range fixed:0.0,65535.0 and fixed:"),
        (replace(plain, read=ReadOptions(roi="1,2,30,20")), "--roi region of 30x20 px at 1,2 and none"),
    ):
        embed(replace(changed, force=True))
        with pytest.raises(WeightsError, match=f"different {word}"):
            ask(home, str(home / "q.npy"))


def test_weights_that_changed_since_are_refused(home: Path, tmp_path: Path) -> None:
    for name in ("feats.npy", "feats.paths.txt", "feats.json"):
        (tmp_path / name).write_bytes((home / name).read_bytes())
    meta = json.loads((tmp_path / "feats.json").read_text())
    meta["weights"]["sha256"] = "0" * 64
    (tmp_path / "feats.json").write_text(json.dumps(meta))
    query = str(home / "images" / "0-1.png")
    with pytest.raises(WeightsError, match="has changed since"):
        ask(tmp_path, query)
    (tmp_path / "feats.json").unlink()
    with pytest.raises(WeightsError, match="does not say which weights"):
        ask(tmp_path, query)
    assert len(ask(tmp_path, "0-1.png")[0]) == 2  # a row needs no weights
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="broken"):
        ask(home, str(tmp_path / "broken.png"))


def test_the_command_prints_lines_json_and_a_sheet(home: Path) -> None:
    done = warm("search", "0-0.png", "2-0.png", "--in", "feats.npy", "-n", "2", "--sheet", "found.png", cwd=home)
    assert done.code == 0, done.err
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert [line[:2] for line in lines] == [["0-0.png", "1"], ["0-0.png", "2"], ["2-0.png", "1"], ["2-0.png", "2"]]
    assert float(lines[0][2]) >= float(lines[1][2])
    assert Path(lines[0][3]).is_file()
    with Image.open(home / "found.png") as sheet:
        assert sheet.width > 3 * 128
    again = warm("search", "0-0.png", "--in", "feats.npy", "--sheet", "found.png", cwd=home)
    assert again.code == 2
    assert "--force" in again.err
    as_json = warm("search", "0-0.png", "--in", "feats.npy", "-n", "1", "--json", cwd=home)
    answer = json.loads(as_json.out)
    assert (answer["features"], answer["root"]) == ("feats.npy", str(home / "images"))
    (query,) = answer["queries"]
    assert query["query"] == "0-0.png"
    assert query["results"][0]["name"] in ("./0-1.png", "./0-2.png")


def test_a_file_is_never_taken_for_another_row_of_its_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = home / "elsewhere"
    other.mkdir()
    (other / "0-0.png").write_bytes((home / "images" / "2-1.png").read_bytes())
    (other / "1-0.png").write_bytes((home / "images" / "1-0.png").read_bytes())
    monkeypatch.chdir(other)
    with pytest.raises(UsageError, match=r"0-0.png is a file here and also the name of a row .*: give --row 0-0"):
        ask(home, "0-0.png")
    assert ask(home, str(other / "0-0.png"), count=1) == [["./2-1.png"]], "the whole path is the file"
    options = SearchOptions(rows=("0-0.png",), features=str(home / "feats.npy"), count=2, device="cpu")
    ((_, hits),) = search(options).answers
    assert sorted(hit.name for hit in hits) == ["./0-1.png", "./0-2.png"]
    assert sorted(ask(home, "1-0.png")[0]) == ["./1-1.png", "./1-2.png"], "a copy of the row's image is the row"
    monkeypatch.chdir(home / "images")
    assert sorted(ask(home, "0-0.png")[0]) == ["./0-1.png", "./0-2.png"], "the row's own image is the row"
    with pytest.raises(UsageError, match=r"--row 0-9.png: no row of .* has that name; did you mean 0-"):
        search(SearchOptions(rows=("0-9.png",), features=str(home / "feats.npy")))


def test_without_a_run_it_names_its_own_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"no finished run in .*: name a feature file with --in") as caught:
        search(SearchOptions(("a.png",)))
    assert "--weights" not in str(caught.value)


def test_queries_that_cannot_be(home: Path) -> None:
    with pytest.raises(UsageError, match="at least one query"):
        ask(home)
    with pytest.raises(DataError):
        ask(home, "nowhere.png")


def test_a_box_is_found_as_if_it_were_an_image(home: Path, tmp_path: Path) -> None:
    with Image.open(home / "images" / "1-0.png") as whole:
        wide = Image.new(whole.mode, (160, 120))
        wide.paste(whole, (70, 40))
    wide.save(tmp_path / "wide.png")
    asked = SearchOptions((str(tmp_path / "wide.png"),), str(home / "feats.npy"), 3, device="cpu")
    ((query, hits),) = search(replace(asked, box=(70, 40, 48, 48))).answers
    assert hits[0].name == "./1-0.png"
    assert hits[0].cosine == pytest.approx(1, abs=1e-5)
    assert query.box == (70, 40, 48, 48)
    assert search(asked).answers[0][1][0].cosine < 0.999
    with pytest.raises(DataError, match="leaves its 160x120 pixels"):
        search(replace(asked, box=(120, 40, 48, 48)))
    with pytest.raises(UsageError, match="left,top,width,height"):
        replace(asked, box=(1, 1, 0, 5))
    with pytest.raises(UsageError, match=r"feats\.npy is a feature file: name the image"):
        search(replace(asked, queries=(str(home / "feats.npy"),), box=(70, 40, 48, 48)))
    search(replace(asked, box=(70, 40, 48, 48), sheet=str(tmp_path / "s.png")))
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 100


def test_a_box_of_a_large_image_is_shrunk_as_a_file_would_be(home: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(500, 3500, (40, 50)).astype(np.uint16).repeat(20, 0).repeat(20, 1)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    Image.fromarray(pixels[100:500, 200:900]).save(tmp_path / "part.png")
    asked = SearchOptions((str(tmp_path / "large.png"),), str(home / "feats.npy"), 1, device="cpu")
    ((part, _),) = search(replace(asked, queries=(str(tmp_path / "part.png"),))).answers
    ((cut, _),) = search(replace(asked, box=(200, 100, 700, 400))).answers
    np.testing.assert_allclose(cut.feature_D, part.feature_D, atol=1e-4)


def test_queries_together_and_unlike_others(home: Path) -> None:
    asked = SearchOptions(("1-0.png", "1-1.png"), str(home / "feats.npy"), 8, device="cpu", together=True)
    ((query, hits),) = search(asked).answers
    assert query.name == "1-0.png + 1-1.png"
    assert hits[0].name == "./1-2.png"
    assert not {"./1-0.png", "./1-1.png"} & {hit.name for hit in hits}, "what was given is not found"
    rows = open_features(home / "feats.npy").flat().astype(np.float64)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    mean = units[[3, 4]].mean(axis=0)
    assert hits[0].cosine == pytest.approx(float(units[5] @ mean / np.linalg.norm(mean)))
    ((_, other),) = search(replace(asked, queries=("1-0.png",), together=False, unlike=("2-0.png",))).answers
    direction = units[3] - 0.5 * units[6]
    wanted = units @ direction / np.linalg.norm(direction)
    assert [hit.cosine for hit in other] == pytest.approx(sorted(np.delete(wanted, [3, 6]))[::-1])
