"""`classify`: a few labels to a table of all images, and a saved classifier to another folder."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from dinocli.errors import DataError, UsageError, WeightsError
from dinocli.tasks.classify.classify import classify
from dinocli.tasks.classify.classify_dry_run import dry_run
from dinocli.tasks.classify.classify_options import ClassifyOptions
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.inputs import ReadOptions
from tests.tasks.drive import Ears
from tests.tasks.search.test_search import home, job  # noqa: F401 (a fixture)
from tests.tasks.test_evaluate import names, table, write

KIND = {"0": "stripes", "1": "dots", "2": "plain"}


def options(folder: Path, **more: object) -> ClassifyOptions:
    usual: dict[str, object] = {
        "inputs": (str(folder / "f.npy"),),
        "labels": (str(folder / "few.csv"),),
        "out": str(folder / "predictions.csv"),
    }
    return ClassifyOptions(**(usual | more))  # type: ignore[arg-type]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


def test_labels_that_were_filled_in_are_not_replaced(folder: Path) -> None:
    classify(options(folder, suggest=3))
    filled = folder / "suggested.csv"
    filled.write_text(filled.read_text().replace(",\n", ",good\n"))
    labels = (str(folder / "few.csv"), str(filled))
    with pytest.raises(UsageError, match="is an input or another output"):
        classify(options(folder, labels=labels, suggest=3, force=True))
    assert filled.read_text().count(",good\n") == 3
    filled.rename(folder / "more.csv")
    outcome = classify(options(folder, labels=(labels[0], str(folder / "more.csv")), suggest=3, force=True))
    assert sum(one.labelled for one in outcome.classes) == 93


def test_labels_that_were_filled_in_outlive_a_later_table(folder: Path) -> None:
    classify(options(folder, suggest=3))
    filled = folder / "suggested.csv"
    filled.write_text(filled.read_text().replace(",\n", ",good\n"))
    classify(options(folder, labels=(str(folder / "few.csv"), str(filled)), force=True))
    assert filled.read_text().count(",good\n") == 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Features of 300 images of three classes, labels for 90 of them."""
    rows = names(300)
    write(tmp_path / "f.npy", 0.5, rows)
    table(tmp_path / "few.csv", path=rows[:90], label=[name.split("/")[1] for name in rows[:90]])
    return tmp_path


def test_a_few_labels_label_the_folder(folder: Path) -> None:
    outcome = classify(options(folder))
    rows = read(folder / "predictions.csv")
    assert [row["path"] for row in rows] == names(300)
    assert list(rows[0]) == ["path", "label", "confidence", "predicted", "given"]
    truth = [row["path"].split("/")[1] for row in rows]
    assert np.mean([row["label"] == right for row, right in zip(rows, truth, strict=True)]) > 0.95
    assert [row["given"] for row in rows] == truth[:90] + [""] * 210
    assert sum(one.labelled for one in outcome.classes) == 90
    assert sum(one.predicted for one in outcome.classes) == 210
    assert outcome.accuracy is not None
    assert outcome.accuracy > 0.95
    assert outcome.threshold == 0
    assert outcome.tried[outcome.method] <= min(outcome.tried.values()) + 0.1


def test_the_prediction_of_a_labelled_image_has_not_seen_it(folder: Path) -> None:
    rows = names(300)
    wrong = ["good" if number == 0 else name.split("/")[1] for number, name in enumerate(rows[:90])]
    table(folder / "few.csv", path=rows[:90], label=wrong)
    classify(options(folder, method="knn"))
    first = read(folder / "predictions.csv")[0]
    assert (first["label"], first["given"], first["predicted"]) == ("good", "good", "crack"), "a wrong label shows"


def test_a_stated_precision_leaves_the_rest_unsure(folder: Path) -> None:
    write(folder / "f.npy", 1.0, names(300))
    outcome = classify(options(folder, precision=0.8))
    rows = [row for row in read(folder / "predictions.csv") if not row["given"]]
    sure = [row for row in rows if row["label"] != "unsure"]
    assert outcome.threshold is not None
    assert 0 < len(sure) < len(rows)
    assert min(float(row["confidence"]) for row in sure) >= outcome.threshold - 1e-5
    assert max(float(row["confidence"]) for row in rows if row["label"] == "unsure") < outcome.threshold + 1e-5
    assert np.mean([row["label"] == row["path"].split("/")[1] for row in sure]) >= 0.78
    assert outcome.accepted == len(sure) / len(rows)
    assert all(row["predicted"] for row in rows)


def test_where_every_image_has_a_label_wrong_ones_are_found(folder: Path) -> None:
    rows = names(300)
    given = ["good" if number == 0 else name.split("/")[1] for number, name in enumerate(rows)]
    outcome = classify(options(folder, labels=(table(folder / "all.csv", path=rows, label=given),), precision=0.9))
    assert outcome.threshold is not None
    table_rows = read(folder / "predictions.csv")
    assert all(row["label"] == row["given"] for row in table_rows)
    doubtful = max((row for row in table_rows if row["predicted"] != row["given"]), key=lambda row: row["confidence"])
    assert (doubtful["path"], doubtful["predicted"]) == (rows[0], "crack")


def test_a_handful_of_labels_promises_nothing_and_says_so(folder: Path) -> None:
    table(folder / "few.csv", path=names(300)[:9], label=[name.split("/")[1] for name in names(300)[:9]])
    ears = Ears()
    outcome = classify(options(folder, precision=0.95), ears)
    assert outcome.threshold is None
    assert outcome.accepted == 0
    assert any("at least 59 have to be right" in line for line in ears.warnings)
    assert {row["label"] for row in read(folder / "predictions.csv") if not row["given"]} == {"unsure"}


def test_one_label_a_class_still_labels_the_folder(folder: Path) -> None:
    table(folder / "few.csv", path=names(3), label=["crack", "good", "spot"])
    ears = Ears()
    outcome = classify(options(folder), ears)
    assert (outcome.method, outcome.accuracy) == ("nearest class mean", None)
    assert any("not calibrated" in line for line in ears.warnings)
    right = [row["label"] == row["path"].split("/")[1] for row in read(folder / "predictions.csv")]
    assert np.mean(right) > 0.8


def test_suggestions_are_a_table_to_fill_in_and_give_back(folder: Path) -> None:
    outcome = classify(options(folder, suggest=12))
    rows = read(folder / "suggested.csv")
    assert [row["path"] for row in rows] == outcome.suggested
    assert len(rows) == 12
    assert not {row["path"] for row in rows} & set(names(300)[:90])
    assert all(row["label"] == "" for row in rows)
    filled = table(folder / "more.csv", path=[r["path"] for r in rows], label=[r["path"].split("/")[1] for r in rows])
    both = classify(options(folder, labels=(str(folder / "few.csv"), filled), force=True))
    assert sum(one.labelled for one in both.classes) == 102
    table(folder / "more.csv", path=names(1), label=["spot"])
    with pytest.raises(DataError, match=r"contradicts an earlier table: .* is 'spot' here and 'crack' there"):
        classify(options(folder, labels=(str(folder / "few.csv"), filled), force=True))
    (folder / "empty.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="has a header and no rows"):
        classify(options(folder, labels=(str(folder / "empty.csv"),), force=True))


def test_a_saved_classifier_gives_the_same_on_other_features(folder: Path) -> None:
    saved = folder / "clf.safetensors"
    classify(options(folder, save=str(saved), precision=0.9))
    before = read(folder / "predictions.csv")
    features = np.load(folder / "f.npy")
    np.save(folder / "g.npy", features[90:])
    (folder / "g.paths.txt").write_text("".join(f"{name}\n" for name in names(300)[90:]))
    later = options(folder, inputs=(str(folder / "g.npy"),), labels=(), classifier=str(saved), force=True)
    outcome = classify(later)
    assert read(folder / "predictions.csv") == before[90:]
    assert outcome.precision == 0.9
    strict = classify(replace(later, precision=0.99))
    assert strict.threshold is None, "90 labels cannot show it"
    assert classify(replace(later, precision=0)).accepted == 1
    np.save(folder / "g.npy", features[90:, :8])
    with pytest.raises(WeightsError, match="have 8 values"):
        classify(later)


def test_several_label_columns_need_a_column_or_groups(folder: Path) -> None:
    rows = names(300)[:90]
    columns = {"path": rows, "kind": [r.split("/")[1] for r in rows], "part": [str(i // 6) for i in range(90)]}
    table(folder / "few.csv", **columns)
    with pytest.raises(UsageError, match="--column"):
        classify(options(folder))
    with pytest.raises(UsageError, match="--column lot"):
        classify(options(folder, column="lot"))
    assert classify(options(folder, groups="part")).accuracy is not None
    assert classify(options(folder, column="kind", force=True)).accuracy is not None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"labels": ()}, "give --labels"),
        ({"classifier": "c.safetensors"}, "give --labels"),
        ({"labels": (), "classifier": "c", "method": "knn"}, "--method cannot change"),
        ({"precision": 1.0}, "--precision 1"),
        ({"save": "c.pt"}, "--save c.pt"),
        ({"weights": "w"}, "--weights cannot change"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder: Path, more: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        classify(options(folder, **more))


def test_one_class_or_a_class_called_unsure_is_refused(folder: Path) -> None:
    table(folder / "few.csv", path=names(3), label=["crack", "crack", ""])
    with pytest.raises(DataError, match="at least two"):
        classify(options(folder))
    table(folder / "few.csv", path=names(2), label=["crack", "unsure"])
    with pytest.raises(DataError, match="unsure"):
        classify(options(folder))


def test_existing_tables_are_not_overwritten(folder: Path) -> None:
    (folder / "suggested.csv").write_text("mine")
    with pytest.raises(UsageError, match="already exists; add --force"):
        classify(options(folder, suggest=3))
    assert not (folder / "predictions.csv").exists()
    assert classify(options(folder)).suggested == []
    other = options(folder, suggest=3, out=str(folder / "other.csv"))
    assert [path.name for path in other.outputs()] == ["other.csv", "other.suggested.csv"]


def test_a_plan_counts_labels_and_writes_nothing(folder: Path) -> None:
    found = dry_run(options(folder, suggest=3))
    assert (found["images"], found["labelled"]) == (300, {"crack": 30, "good": 30, "spot": 30})
    assert [Path(name).name for name in found["files"]] == ["predictions.csv", "suggested.csv"]
    assert not (folder / "predictions.csv").exists()


def of_images(home: Path, **more: object) -> ClassifyOptions:  # noqa: F811
    rows = [f"./{kind}-{copy}.png" for kind in KIND for copy in (0, 1)]
    few = table(home / "few.csv", path=rows, label=[KIND[row[2]] for row in rows])
    usual: dict[str, object] = {"inputs": (str(home / "images"),), "labels": (few,), "out": str(home / "p.csv")}
    usual |= {"device": "cpu", "force": True, "read": ReadOptions(workers=0)}
    return ClassifyOptions(**(usual | more))  # type: ignore[arg-type]


def test_images_are_embedded_and_a_saved_classifier_embeds_others_alike(home: Path) -> None:  # noqa: F811
    saved = str(home / "clf.safetensors")
    weights = {"weights": str(home / "weights.safetensors"), "model": "test_convnext"}
    classify(of_images(home, save=saved, **weights))
    first = read(home / "p.csv")
    assert {row["path"]: row["label"] for row in first}["./1-2.png"] == "dots"
    few = of_images(home, inputs=(str(home / "images" / "1-2.png"),), labels=(), classifier=saved)
    heard = Ears()
    classify(few, heard)
    assert any(line.endswith(f"tokens and reading of {saved}") for line in heard.lines), "not of a temporary file"
    (alone,) = read(home / "p.csv")
    assert alone["label"] == "dots"
    wanted = {row["path"]: row["confidence"] for row in first}["./1-2.png"]
    assert float(alone["confidence"]) == pytest.approx(float(wanted), abs=1e-3), "the range of the folder travels"
    with pytest.raises(WeightsError, match="different --size 64 and 160"):
        classify(of_images(home, inputs=(str(home / "feats.npy"),), labels=(), classifier=saved, read=ReadOptions()))


def test_features_fitted_to_a_folder_travel_with_the_classifier(home: Path) -> None:  # noqa: F811
    rare = replace(job(home, "rare.npy"), tokens="pooled+rare", force=True)
    embed(rare)
    saved = str(home / "rare-clf.safetensors")
    classify(of_images(home, inputs=(str(home / "rare.npy"),), read=ReadOptions(), save=saved))
    first = {row["path"]: row for row in read(home / "p.csv")}
    for name in ("rare.npy", "rare.json", "rare.paths.txt", "rare.rare.safetensors"):
        (home / name).unlink()
    classify(of_images(home, labels=(), classifier=saved))
    again = {row["path"]: row for row in read(home / "p.csv")}
    for name in ("./0-2.png", "./1-2.png", "./2-2.png"):
        assert again[name]["label"] == first[name]["label"]
        assert float(again[name]["confidence"]) == pytest.approx(float(first[name]["confidence"]), abs=1e-3)
    with pytest.raises(WeightsError, match="different"):
        classify(of_images(home, inputs=(str(home / "feats.npy"),), read=ReadOptions(), labels=(), classifier=saved))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11 itself
def test_labels_and_suggestions_are_coco_that_pycocotools_reads(home: Path) -> None:  # noqa: F811
    coco = home / "labels.json"
    outcome = classify(
        of_images(home, inputs=(str(home / "feats.npy"),), read=ReadOptions(), coco=str(coco), suggest=2)
    )
    found = COCO(str(coco))
    assert {found.loadCats(one["category_id"])[0]["name"] for one in found.loadAnns(found.getAnnIds())} == {
        *KIND.values(),
        "suggested",
    }
    (number,) = [key for key, image in found.imgs.items() if image["file_name"] == "1-0.png"]
    (one,) = found.loadAnns(found.getAnnIds([number], catIds=found.getCatIds(["dots"])))
    assert (one["bbox"], one["score"]) == ([0, 0, 48, 48], 1.0), "a given label is sure"
    suggested = found.getImgIds(catIds=found.getCatIds(["suggested"]))
    assert sorted(f"./{found.imgs[key]['file_name']}" for key in suggested) == sorted(outcome.suggested)
    assert found.annToMask(one).all()


def test_the_next_command_after_a_saved_classifier_fits_anew(folder: Path) -> None:
    outcome = classify(options(folder, suggest=4))
    assert outcome.next_commands()[1] == "the command with --labels NAME --force"
    applied = replace(outcome, tried={}, features=folder / "my feats.npy")
    assert applied.next_commands()[1] == f"dinocli classify '{folder / 'my feats.npy'}' --labels NAME"
