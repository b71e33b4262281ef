from pathlib import Path

import pytest

from dinocli.errors import UsageError
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.feature_inputs import is_features, takes_features
from dinocli.tasks.inputs import ReadOptions


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
