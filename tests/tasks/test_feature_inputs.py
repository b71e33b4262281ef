import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.errors import DataError, UsageError
from dinocli.tasks.classify.classify import classify
from dinocli.tasks.classify.classify_options import ClassifyOptions
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.feature_inputs import check_labels, is_features, open_stored, takes_features
from dinocli.tasks.inputs import ReadOptions
from tests.tasks.cluster.sets import write_features
from tests.tasks.drive import Ears


def test_feature_files_are_told_from_images_lists_and_folders(tmp_path: Path) -> None:
    (tmp_path / "images.npy").mkdir()
    for name in ("feats.npy", "FEATS.NPZ", "a/f.csv", "f.parquet", "f.safetensors"):
        assert is_features(name), name
    for name in ("@list.csv", "images", "a.png", "-", "*.png", str(tmp_path / "images.npy")):
        assert not is_features(name), name


@pytest.mark.parametrize("options", [ClusterOptions, EvaluateOptions])
def test_options_of_images_beside_a_feature_file_are_refused(options: type[ClusterOptions | EvaluateOptions]) -> None:
    assert takes_features(options())
    assert takes_features(options(("f.npy",)))
    assert not takes_features(options(("images",)))
    assert not takes_features(options(("@list.csv",)))
    assert not takes_features(options(weights="runs/mine"))  # the images of the newest run, with these weights
    with pytest.raises(UsageError, match=r"one feature file, or images, not both: a\.npy images"):
        takes_features(options(("a.npy", "images")))
    with pytest.raises(UsageError, match=r"--weights, --range, --batch-size cannot change the features in a\.npy"):
        takes_features(options(("a.npy",), weights="w", read=ReadOptions(range="full"), batch_size=3))


@pytest.mark.parametrize("options", [ClusterOptions, EvaluateOptions])
def test_labels_are_checked_before_images_are_embedded(
    options: type[ClusterOptions | EvaluateOptions], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"listed, not read")
    (tmp_path / "labels.csv").write_text("path,kind\nother.png,x\n")
    for labels in ("folder", str(tmp_path / "labels.csv")):
        with pytest.raises(DataError, match=r"label|path"):
            check_labels(options((str(tmp_path),)), labels)
    check_labels(options((str(tmp_path),)), "")
    check_labels(options((str(tmp_path / "f.npy"),)), "folder")


def test_classify_checks_labels_before_it_loads_weights(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"listed, not read")
    asked = ClassifyOptions((str(tmp_path),), labels=("folder",), weights="none", model="nonsense", out="c.csv")
    with pytest.raises(DataError, match="no image lies in a folder of its class"):
        classify(asked)


def test_images_that_are_newer_than_their_features_are_reported(tmp_path: Path) -> None:
    images, features = tmp_path / "images", tmp_path / "feats.npy"
    images.mkdir()
    for name in ("a", "b"):
        Image.new("L", (8, 8)).save(images / f"{name}.png")
        os.utime(images / f"{name}.png", (1e9, 1e9))
    write_features(features, np.eye(2, dtype=np.float32), ["./a.png", "./b.png"], images)
    ears = Ears()
    assert len(open_stored(features, ears)) == 2
    assert not ears.warnings
    os.utime(images / "b.png", (features.stat().st_mtime + 9,) * 2)
    open_stored(features, ears)
    assert ears.warnings[0].startswith("1 image, such as ./b.png, was modified after ")
    (images / "b.png").unlink()
    open_stored(features, ears)
    assert len(ears.warnings) == 1, "an image that is gone is not a modified one"
    (images / "a.png").unlink()
    open_stored(features, ears)
    assert ears.warnings[1].startswith(f"the images of {features} are not in {images} any more: if they have moved, ")
    images.rmdir()
    open_stored(features, ears)
    assert ears.warnings[2] == ears.warnings[1]
