from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dinocli
from dinocli.artifacts.feature_file import open_features
from dinocli.artifacts.feature_model import FeatureModel, ImageLike, load
from dinocli.errors import DataError, UsageError, WeightsError
from dinocli.tasks.embed.embed import embed
from tests.tasks.embed.drive import job, write_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("loaded") / "images", 5, mixed=True)


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = folder.parent / "weights.safetensors"
    save_file(timm.create_model("test_convnext").state_dict(), str(path))
    return path


@pytest.fixture(scope="module")
def model(weights: Path) -> FeatureModel:
    return dinocli.load(weights, model="test_convnext", device="cpu")


def test_paths_pil_images_and_arrays_give_the_features_of_embed(
    folder: Path, weights: Path, model: FeatureModel, tmp_path: Path
) -> None:
    out = tmp_path / "feats.npy"
    size = model.preprocess.size
    embed(job(folder, out, weights=str(weights), model="test_convnext", size=size))
    file = open_features(out)
    paths = [folder / name for name in file.names]
    as_read = load(weights, model="test_convnext", device="cpu", preprocess=file.preprocess())
    expected = file.rows[:]
    arrays = [np.asarray(Image.open(path)) for path in paths]
    for images in (paths, [str(path) for path in paths], [Image.open(path) for path in paths], arrays):
        np.testing.assert_array_equal(as_read.embed(images, batch_size=4), expected)
    mixed: list[ImageLike] = [paths[0], Image.open(paths[1]), *arrays[2:]]
    np.testing.assert_array_equal(as_read.embed(iter(mixed), batch_size=4), expected)


def test_normalized_rows_have_length_one_and_no_image_gives_no_row(weights: Path, folder: Path) -> None:
    model = load(weights, model="test_convnext", device="cpu", normalize=True)
    rows = model.embed(sorted(folder.glob("*.png")))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert model.embed([]).shape == (0, rows.shape[1])


def test_an_image_that_cannot_be_read_is_named(model: FeatureModel, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png cannot be read"):
        model.embed([tmp_path / "broken.png"])
    good = np.zeros((8, 8), np.uint8)
    with pytest.raises(DataError, match="image 1 cannot be read: an array of shape"):
        model.embed([good, np.zeros(7, np.uint8)])
    with pytest.raises(DataError, match="image 0 cannot be read: uint16 image"):  # never dark in silence
        model.embed([np.full((8, 8), 900, np.uint16)])


def test_alpha_is_laid_over_white_as_in_files(model: FeatureModel) -> None:
    clear = np.zeros((9, 9, 4), np.uint8)
    clear[:4, :, 3] = 255  # an alpha that hides all is no alpha
    white = np.full((9, 9, 3), 255, np.uint8)
    white[:4] = 0
    np.testing.assert_array_equal(model.embed([clear]), model.embed([white]))


def test_tokens_that_the_model_lacks_are_refused(weights: Path) -> None:
    with pytest.raises(WeightsError, match="no class token"):
        load(weights, model="test_convnext", tokens="cls", device="cpu")


def test_tokens_of_a_folder_are_refused_before_weights_are_loaded() -> None:
    with pytest.raises(UsageError, match="fitted to a folder"):
        load("/nowhere/weights.pt", model="test_convnext", tokens="rare", device="cpu")
