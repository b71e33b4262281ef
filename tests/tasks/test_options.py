"""Options that would be ignored are refused, before torch is loaded."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from dinocli.config.load import load_recipe
from dinocli.data.sources import find_images
from dinocli.errors import UsageError
from dinocli.file_set import claimed
from dinocli.segmentation.method_choice import METHODS
from dinocli.segmentation.method_options import METHODS_OF_OPTION
from dinocli.tasks.classify.classify_options import ClassifyOptions
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.export.export_options import ExportOptions
from dinocli.tasks.feature_inputs import check_features, takes_features
from dinocli.tasks.inputs import FeatureInputs, ReadOptions, absolute_input
from dinocli.tasks.search.search_options import SearchOptions
from dinocli.tasks.segment.segment import segment
from dinocli.tasks.segment.segment_options import MaskOutputs, SegmentOptions
from dinocli.tasks.train.train_options import TrainOptions


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"method": "kmeans", "query": "0.5,0.5"}, "--query belongs to --method attention, not to kmeans"),
        ({"query": "0.5,0.5"}, "--query belongs to --method attention, which auto never takes"),
        ({"query": "2,2", "method": "attention"}, "--query '2,2' is not x,y"),
        ({"method": "anomaly", "outputs": MaskOutputs(maps=True)}, "--maps belongs to --method attention or pca"),
        ({"method": "tokencut", "reference": "good"}, "--reference belongs to --method anomaly, not to tokencut"),
        ({"method": "kmeans", "method_options": {"threshold": "0.5"}}, "--threshold belongs to --method anomaly"),
        ({"method_options": {"thresold": "0.5"}}, "no method has the option 'thresold'"),
        ({"method": "pca", "method_options": {"objects": 2}}, "--objects belongs to --method tokencut, not to pca"),
        ({"method_options": {"threshold": "2"}}, "--threshold '2' is not auto"),
        ({"tile": "16:16"}, "an overlap of 16 px is more than half"),
        ({"outputs": MaskOutputs(polygons=True)}, "add --coco FILE"),
        ({"good_without_mask": True}, "add --truth MASKS"),
        ({"propagate": "m.png", "method": "kmeans"}, "--propagate is a method of its own: leave --method out"),
        ({"propagate": "m.png", "reference": "good"}, "leave --reference out"),
        ({"propagate": "m.png", "method_options": {"threshold": "0.5"}}, "leave --threshold out"),
        ({"method": "kmeans", "groups": "folder"}, "--groups belongs to --method anomaly, not to kmeans"),
        ({"propagate": "m.png", "groups": "folder"}, "leave --groups out"),
        ({"out": "", "detector": "d", "outputs": MaskOutputs(overlay=True)}, "--overlay: answers on stdout"),
        ({"out": "", "detector": "d", "truth": "t", "save_detector": "e"}, "--truth, --save-detector: answers"),
    ],
)
def test_segment_refuses_what_it_would_ignore(more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SegmentOptions(("in",), **{"out": "masks", **more})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"outputs": MaskOutputs(coco="masks/segments.csv")},
            "--coco masks/segments.csv is another file of the result",
        ),
        ({"save_detector": "masks"}, "--out masks lies in --save-detector masks"),
        ({"out": "det/masks", "save_detector": "det"}, "--out det/masks lies in --save-detector det"),
    ],
)
def test_outputs_of_segment_do_not_replace_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    options = SegmentOptions((str(tmp_path),), **{"out": "masks", "weights": "none", **more})
    with pytest.raises(UsageError, match=words):
        options.check()


def test_each_option_of_a_method_is_known_to_belong_to_it() -> None:
    fields_of = {name: {field.name for field in fields(method)} for name, method in METHODS.items()}
    own = set[str]().union(*fields_of.values()) - {"seed"}
    assert len(own) == 8
    found = {option: tuple(name for name in METHODS if option in fields_of[name]) for option in own}
    others = {"query": ("attention",), "maps": ("attention", "pca"), "groups": ("anomaly",)}
    assert found | others == METHODS_OF_OPTION


@pytest.mark.parametrize(
    ("more", "dry_run", "words"),
    [
        ({}, True, "leave --dry-run out"),
        ({"tokens": "cls", "weights": "w", "resume": True}, False, "leave --weights, --tokens, --resume out"),
        ({"read": ReadOptions(page=1)}, False, "leave --page out"),
    ],
)
def test_a_merge_takes_no_option_of_embedding(more: dict[str, Any], dry_run: bool, words: str) -> None:
    EmbedOptions(("a.npy",), "f.npy", force=True).check_merge(dry_run=False)
    with pytest.raises(UsageError, match=words):
        EmbedOptions(("a.npy",), "f.npy", **more).check_merge(dry_run=dry_run)


def test_features_replace_no_array_or_shard_they_are_made_of(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_text("")
    options = EmbedOptions(str(tmp_path / "a.npy"), str(tmp_path / "a.npy"), weights="none", force=True)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is an input"):
        options.check()
    with pytest.raises(UsageError, match="is an input"):
        replace(options, weights="").check_merge(dry_run=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (lambda: EmbedOptions(("in",), batch_size=0), "batch_size=0: give 1 or more"),
        (lambda: EmbedOptions(("in",), layers=0), "layers=0: give 1 or more"),
        (lambda: EmbedOptions(("in",), size=-5), "size=-5: give 0 or more"),
        (lambda: SearchOptions(("in",), count=-3), "count=-3: give 1 or more"),
        (lambda: EvaluateOptions(("in",), views=-1), "views=-1: give 0 or more"),
        (lambda: ReadOptions(page=-1), "page=-1: give 0 or more"),
        (lambda: ReadOptions(z="top").data(), "recipe: data.z = 'top'"),
        (lambda: ReadOptions(channels="0,,1"), "--channels '0,,1'"),  # type: ignore[arg-type]
    ],
)
def test_numbers_that_the_command_line_refuses_are_refused_in_python(options: Callable[[], Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        options()


def test_masks_are_not_written_into_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--out is missing"):
        segment(SegmentOptions((".",), detector="det"))
    assert not list(tmp_path.iterdir())


def test_python_may_give_one_value_and_zero() -> None:
    read = ReadOptions(channels="0,C:GFP", nodata=-9999)  # type: ignore[arg-type]
    assert (read.channels, read.nodata) == ((0, "C:GFP"), (-9999,))
    assert (read.data().channels, read.data().nodata) == ([0, "C:GFP"], [-9999.0])
    assert EvaluateOptions(("f.npy",), views=0).views == 0
    assert ClusterOptions(duplicates=0.98).duplicates == 0.98
    assert not SegmentOptions(out="m", refine=False).refine


def test_a_wrong_tile_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="--tile '0' is not SIZE"):
        EmbedOptions(("in",), "f.npy", tile="0")


def test_images_for_a_saved_classifier_pass_the_early_checks(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    options = ClassifyOptions((str(tmp_path),), classifier="c.safetensors")
    check_features(options, weights=options.classifier)


def test_files_of_earlier_groups_are_named(tmp_path: Path) -> None:
    for name in ("clusters.csv", "report.html", "selected.txt", "duplicates.csv"):
        (tmp_path / name).write_text("")
    options = ClusterOptions(out=str(tmp_path / "clusters.csv"), report="none")
    assert [path.name for path in options.older()] == ["selected.txt", "report.html"]
    assert ClusterOptions(out=str(tmp_path / "new.csv"), report="none").older() == []


def test_a_dash_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="- is stdout in `embed` alone"):
        ClassifyOptions(("f.npy",), labels=("few.csv",), out="-").check_outputs()
    with pytest.raises(UsageError, match="- is stdout in `embed` alone"), claimed(folder=Path("-")):
        pass


def test_nul_without_stdin_is_refused() -> None:
    """Without the `-` the paths in the pipe would be ignored, and other images taken."""
    with pytest.raises(UsageError, match="name - as input"):
        find_images(["."], null=True)
    with pytest.raises(UsageError, match="name - as input"):
        takes_features(FeatureInputs(("f.npy",), read=ReadOptions(null=True)))
    with pytest.raises(UsageError, match="name - as input"):
        SearchOptions(("a.png",), null=True)


def test_python_callers_may_give_paths_lists_and_one_input(tmp_path: Path) -> None:
    options = EmbedOptions(tmp_path, out=tmp_path / "f.npy", weights=tmp_path)  # type: ignore[arg-type]
    assert (options.inputs, options.out, options.weights) == ((str(tmp_path),), str(tmp_path / "f.npy"), str(tmp_path))
    assert EmbedOptions("images").inputs == ("images",)  # type: ignore[arg-type]
    assert SegmentOptions([tmp_path], out=tmp_path).inputs == (str(tmp_path),)  # type: ignore[arg-type]
    assert ClassifyOptions("f.npy", labels="few.csv").labels == ("few.csv",)  # type: ignore[arg-type]
    assert SearchOptions(tmp_path / "a.png", box=(0, 0, 9, 9)).queries == (str(tmp_path / "a.png"),)  # type: ignore[arg-type]
    assert TrainOptions(tmp_path, load_recipe("grey")).inputs == (str(tmp_path),)  # type: ignore[arg-type]
    assert ReadOptions(include="*.png", channels=(0, 1)).include == ("*.png",)  # type: ignore[arg-type]
    assert ExportOptions(tmp_path, out=tmp_path).weights == str(tmp_path)  # type: ignore[arg-type]


def test_inputs_are_recorded_for_commands_in_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ("-", "in", "@list.txt", "/data/*.tar")
    assert [absolute_input(name) for name in given] == [
        "-",
        str(tmp_path / "in"),
        f"@{tmp_path / 'list.txt'}",
        "/data/*.tar",
    ]
