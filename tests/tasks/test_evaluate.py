import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinocli.config.preprocess import Preprocess
from dinocli.errors import DataError, UsageError, WeightsError
from dinocli.quality import label_split as truth
from dinocli.quality.evaluation import EvaluateResult
from dinocli.quality.knn import accuracy, knn_votes
from dinocli.quality.label_scores import LabelSplit, small_class_note
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.whitening import fit_whitening
from dinocli.tasks.evaluate.evaluate import evaluate
from dinocli.tasks.evaluate.evaluate_inputs import read_truth
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from tests.report.test_page import Page

CLASSES = ("crack", "good", "spot")


def names(count: int = 60) -> list[str]:
    return [f"./{CLASSES[i % 3]}/{i:03}.png" for i in range(count)]


def write(path: Path, noise: float, rows: list[str], seed: int = 0) -> NDArray[np.float32]:
    """Write a feature file whose classes are apart by an amount."""
    random = np.random.default_rng(seed)
    classes = np.array([CLASSES.index(name.split("/")[1]) for name in rows])
    features = (np.eye(3, 16)[classes] * 2 + noise * random.standard_normal((len(rows), 16))).astype(np.float32)
    np.save(path, features)
    path.with_suffix(".paths.txt").write_text("".join(f"{name}\n" for name in rows))
    return np.asarray(features)


def table(file: Path, /, **columns: list[Any]) -> str:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def values(found: EvaluateResult, column: str = "folder") -> dict[str, float]:
    return {row.key: row.value for row in found.table if row.labels == column}


def test_scores_of_a_feature_file(tmp_path: Path) -> None:
    features = write(tmp_path / "f.npy", 0.9, names())
    found = evaluate(EvaluateOptions((str(tmp_path / "f.npy"),), labels="folder"))
    labels = np.array([name.split("/")[1] for name in names()])
    scores = values(found)
    assert scores["knn20_accuracy"] == accuracy(labels, knn_votes(features, labels).predicted_Q)
    assert scores["largest_class"] == pytest.approx(1 / 3)
    assert 0.5 < scores["few_shot_1"] < scores["few_shot_10"] < 1
    assert 0.5 < scores["linear_accuracy"] < 1
    assert len(scores) == 15
    assert set(values(found, "")) == {"feature_std", "rankme", "alpha_req", "uniformity", "near_duplicates"}
    assert "does not say which images" in found.notes[0]
    assert not found.sentences
    json.dumps(found.to_dict())


def test_the_difference_to_a_baseline_is_put_into_words(tmp_path: Path) -> None:
    write(tmp_path / "good.npy", 0.4, names())
    write(tmp_path / "bad.npy", 2.0, names(), seed=1)
    write(tmp_path / "same.npy", 0.4, names(), seed=2)

    def against(other: str) -> EvaluateResult:
        job = EvaluateOptions((str(tmp_path / "good.npy"),), labels="folder", baseline=str(tmp_path / other))
        return evaluate(job)

    better = against("bad.npy")
    (headline,) = [row for row in better.table if row.key == "knn20_accuracy"]
    assert headline.difference is not None
    assert headline.baseline is not None
    assert headline.value - headline.baseline == pytest.approx(headline.difference.mean)
    assert headline.difference.low > 0
    assert headline.verdict == "better"
    assert better.sentences[0].endswith("significantly better.")
    verdicts = {row.key: row.verdict for row in better.table}
    assert {verdicts[key] for key in ("knn20_macro_f1", "linear_balanced", "few_shot_5", "retrieval_map")} == {"better"}
    assert {verdicts[key] for key in ("kmeans_nmi", "rankme", "largest_class")} == {""}
    assert against("same.npy").sentences[0].endswith("no significant difference.")


def test_only_images_of_both_are_compared_whatever_the_order(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", 0.8, names(60))
    features = np.load(tmp_path / "a.npy")
    turned = names(50)[::-1]
    np.save(tmp_path / "b.npy", features[:50][::-1])
    (tmp_path / "b.paths.txt").write_text("".join(f"{name}\n" for name in turned))
    found = evaluate(EvaluateOptions((str(tmp_path / "a.npy"),), labels="folder", baseline=str(tmp_path / "b.npy")))
    assert found.images == 50
    assert "50 images are in both; 60 and 50 were given" in found.notes
    assert {row.value - row.baseline for row in found.table if row.labels and row.baseline is not None} == {0}
    write(tmp_path / "c.npy", 0.8, ["./good/else.png"] * 3)
    with pytest.raises(DataError, match="0 images in common"):
        evaluate(EvaluateOptions((str(tmp_path / "a.npy"),), baseline=str(tmp_path / "c.npy")))


def test_scores_of_more_images_than_a_class_has_are_named(tmp_path: Path) -> None:
    listed = [f"./{'abc'[number % 3]}/{number}.png" for number in range(24)]
    features = write(tmp_path / "a.npy", 0.8, names(24))
    np.save(tmp_path / "a.npy", features)
    (tmp_path / "a.paths.txt").write_text("".join(f"{name}\n" for name in listed))
    found = evaluate(EvaluateOptions((str(tmp_path / "a.npy"),), labels="folder", views=0))
    (note,) = [note for note in found.notes if "smallest class" in note]
    assert note.startswith("folder: the smallest class has 7 images to learn from: few_shot_10 take")
    assert small_class_note(LabelSplit("x", np.arange(22), np.array(["a", "b"] * 11), None, None)) == ""


def test_rows_that_are_not_finite_do_not_count(tmp_path: Path) -> None:
    features = write(tmp_path / "a.npy", 0.8, names())
    features[7] = np.nan
    np.save(tmp_path / "a.npy", features)
    found = evaluate(EvaluateOptions((str(tmp_path / "a.npy"),), labels="folder"))
    assert found.images == 59
    assert found.notes[0] == "1 rows are not finite and left out"


def test_whitened_features_are_measured_side_by_side(tmp_path: Path) -> None:
    """Features whose classes lie in small directions, under what all images share."""
    rows = names()
    features = write(tmp_path / "a.npy", 0.9, rows) + np.eye(1, 16, 3, dtype=np.float32) * 20
    features[5] = np.nan
    np.save(tmp_path / "a.npy", features)
    path = str(tmp_path / "a.npy")
    plain = evaluate(EvaluateOptions((path,), labels="folder"))
    white = evaluate(EvaluateOptions((path,), labels="folder", whiten=True, baseline=path))
    kept = np.delete(features, 5, axis=0)
    labels = np.array([name.split("/")[1] for name in np.delete(rows, 5)])
    by_hand = NormalizedFeatures(kept, fit_whitening(NormalizedFeatures(kept))).take(slice(None))
    assert values(white)["knn20_accuracy"] == accuracy(labels, knn_votes(by_hand, labels).predicted_Q)
    assert values(white, "")["feature_std"] > 2 * values(plain, "")["feature_std"]
    assert (white.features, white.baseline) == (f"{path}, whitened", f"{path}, whitened")
    assert {row.key: row.baseline for row in white.table}["knn20_accuracy"] == values(white)["knn20_accuracy"]


def splits(listed: list[str], **asked: str) -> tuple[list[LabelSplit], list[str]]:
    return read_truth(EvaluateOptions(**asked), listed)  # type: ignore[arg-type]


def test_label_columns_and_groups_of_a_csv(tmp_path: Path) -> None:
    listed = names()
    spec = table(
        tmp_path / "t.csv",
        path=listed,
        kind=[name.split("/")[1] for name in listed],
        number=list(range(60)),
        part=[i // 4 if i < 56 else "" for i in range(60)],
    )
    truths, notes = splits(listed, labels=spec, groups="part")
    assert [one.column for one in truths] == ["kind"]
    assert any(note.startswith("number is left out: 0 classes") for note in notes)
    groups = truths[0].groups_T
    assert groups is not None
    assert len(set(groups)) == 14 + 4  # an image without a part is its own
    with pytest.raises(UsageError, match="columns kind, number, part"):
        splits(listed, labels=spec, groups="lot")
    with pytest.raises(DataError, match="no labels to evaluate with"):
        splits(listed, labels="folder", groups="folder")  # every class is one group
    one_kind = [f"./good/{name.rpartition('/')[2]}" for name in listed]
    with pytest.raises(DataError, match=r"with in folder: folder is left out: 1 class that can be learnt, and two are"):
        splits(one_kind, labels="folder")


def test_classes_that_only_the_test_side_has_are_left_out_and_named(tmp_path: Path) -> None:
    rows = [name.replace("./", "./train/" if i < 30 else "./test/", 1) for i, name in enumerate(names(60))]
    known = [name for name in rows if not (name.startswith("./train/") and "/spot/" in name)]
    features = write(tmp_path / "f.npy", 0.3, [f"./{name.split('/')[2]}" + "/x.png" for name in known])
    np.save(tmp_path / "f.npy", features)
    (tmp_path / "f.paths.txt").write_text("".join(f"{name}\n" for name in known))
    found = evaluate(EvaluateOptions((str(tmp_path / "f.npy"),), labels="folder", train="train"))
    assert "folder: 1 classes are only on the test side (spot); the figures are without their 10 images" in found.notes
    assert values(found)["knn20_accuracy"] > 0.9


def test_tiles_of_one_image_are_a_group() -> None:
    tiles = [name for name in names(12) for _ in range(3)]
    (found,), _ = splits(tiles, labels="folder")
    assert found.groups_T is not None
    assert found.groups_T.tolist() == tiles
    assert splits(names(12), labels="folder")[0][0].groups_T is None


def test_sides_share_no_group(tmp_path: Path) -> None:
    listed = [f"./{side}/{CLASSES[i % 3]}/{i:02}.png" for side in ("train", "test") for i in range(30)]
    lots = [i % 25 if side == "train" else 20 + i for side in ("train", "test") for i in range(30)]
    spec = table(tmp_path / "t.csv", path=listed, kind=[n.split("/")[2] for n in listed], lot=lots)
    (found,), notes = splits(listed, labels=spec, groups="lot", train="train")
    assert found.learn_T is not None
    assert found.groups_T is not None
    assert not set(found.groups_T[found.learn_T]) & set(found.groups_T[~found.learn_T])
    assert (~found.learn_T).sum() == 30
    assert notes == ["5 images to learn from are left out: their groups are tested too"]
    (other,), _ = splits(listed, labels=spec, groups="lot", test="./test/*")
    assert (found.rows_T == other.rows_T).all()


@pytest.mark.parametrize(
    ("train", "test", "error", "words"),
    [
        ("nowhere", "", DataError, "--train nowhere matches no image"),
        ("*", "crack", UsageError, "on both sides"),
        ("*", "", DataError, "0 to test on"),
    ],
)
def test_sides_that_make_no_sense(train: str, test: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        splits(names(), labels="folder", train=train, test=test)


def test_a_split_is_learnt_on_one_side_only(tmp_path: Path) -> None:
    listed = [f"./{side}/{CLASSES[i % 3]}/{i:02}.png" for side in ("old", "new") for i in range(30)]
    features = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    features[30:] = features[:30]  # every new image is a copy of an old one: only learning from the old can be right
    np.save(tmp_path / "f.npy", features)
    (tmp_path / "f.paths.txt").write_text("".join(f"{name}\n" for name in listed))
    found = values(evaluate(EvaluateOptions((str(tmp_path / "f.npy"),), labels="folder", train="old")))
    assert found["retrieval_p10"] < 0.6
    assert found["linear_accuracy"] > 0.6
    assert found["knn10_accuracy"] == 1


def test_classes_of_one_image_are_left_out_and_large_sets_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [*names(), "./alone/1.png"]
    (found,), notes = splits(listed, labels="folder")
    assert len(found.rows_T) == 60
    assert notes == ["folder: 1 classes of one image are left out (1 images)"]
    monkeypatch.setattr(truth, "MAX_IMAGES", 40)
    (found,), notes = splits(listed, labels="folder")
    assert len(found.rows_T) == 40
    assert "folder: a sample of 40 of 60 labelled images" in notes


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", 0.8, names())
    path = str(tmp_path / "a.npy")
    with pytest.raises(UsageError, match="belong to labels"):
        evaluate(EvaluateOptions((path,), groups="folder"))
    with pytest.raises(UsageError, match="not both"):
        evaluate(EvaluateOptions((path, "images")))
    with pytest.raises(WeightsError, match="no such feature file"):
        evaluate(EvaluateOptions((str(tmp_path / "none.npy"),)))
    with pytest.raises(UsageError, match="are not there to embed them"):
        evaluate(EvaluateOptions((path,), baseline="vit_tiny_patch16_224"))


def with_images(folder: Path, rows: list[str]) -> None:
    """Give the rows of `f.npy` and `g.npy` images, and say where they lie."""
    for row in rows:
        path = folder / "images" / row
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 30 * CLASSES.index(row.split("/")[1])).save(path)
    reading = Preprocess("full", 0, 1, False, True, (), 0, (0.5,) * 3, (0.5,) * 3, 32, source="8-bit").to_dict()
    meta = {"kind": "features", "n": len(rows), "shape": [len(rows), 16], "weights": {}, "preprocess": reading}
    for name in "fg":
        (folder / f"{name}.json").write_text(json.dumps(meta | {"root": str(folder / "images")}))


def test_the_page_shows_what_is_wrong(tmp_path: Path) -> None:
    features = write(tmp_path / "f.npy", 0.9, names())
    write(tmp_path / "g.npy", 2.0, names(), seed=1)
    with_images(tmp_path, names())
    job = EvaluateOptions(
        (str(tmp_path / "f.npy"),),
        labels="folder",
        baseline=str(tmp_path / "g.npy"),
        views=0,
        report=str(tmp_path / "page.html"),
        argv=("dinocli", "evaluate", "a b.npy"),
    )
    found = evaluate(job)
    html = (tmp_path / "page.html").read_text()
    page = Page(html)
    assert not page.open
    assert found.to_dict()["report"] == job.report
    assert "better" in page.text
    assert "dinocli evaluate 'a b.npy'" in page.text
    labels = np.array([name.split("/")[1] for name in names()])
    wrong = int((knn_votes(features, labels).predicted_Q != labels).sum())
    assert 0 < wrong < 20
    cells = [attrs["class"] for tag, attrs in page.tags if tag == "td" and "heat" in str(attrs.get("class"))]
    assert len(cells) == 2 * 9
    subjects = [attrs for tag, attrs in page.tags if tag == "th" and "rowspan" in attrs]
    assert len(subjects) == wrong
    assert all(attrs["rowspan"] == "2" for attrs in subjects)
    pictures = [str(attrs["src"]) for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) > wrong * 11
    assert all(source.startswith("data:image/webp") for source in pictures)
    assert {"Reliability, folder", "Most frequent confusions", "Worst images", "Classes of folder"} <= set(page.text)


def test_a_page_is_not_replaced_and_needs_no_labels(tmp_path: Path) -> None:
    write(tmp_path / "f.npy", 0.9, names())
    job = EvaluateOptions((str(tmp_path / "f.npy"),), report=str(tmp_path / "page.html"))
    evaluate(job)
    before = (tmp_path / "page.html").read_bytes()
    with pytest.raises(UsageError, match="--force"):
        evaluate(replace(job, labels="folder"))
    assert (tmp_path / "page.html").read_bytes() == before
    evaluate(replace(job, labels="folder", force=True))
    html = (tmp_path / "page.html").read_text()
    assert "Worst images" not in html, "nobody knows where the images lie"
    assert "Confusion matrix" in html
    assert "%" in Page(html).text[2]
