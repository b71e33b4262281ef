from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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


def test_new_images_are_embedded_like_a_file_of_rare_features(folder: Path, weights: Path, tmp_path: Path) -> None:
    out, new = tmp_path / "rare.npy", tmp_path / "new"
    embed(job(folder, out, "pooled+rare", weights=str(weights)))
    write_images(new, 2, mixed=False)
    embed(job(new, tmp_path / "new.npy", like=str(out), weights="", model="", size=0))
    file = open_features(tmp_path / "new.npy")
    images = [Image.open(new / name) for name in file.names]
    np.testing.assert_allclose(dinocli.load_like(out, device="cpu").embed(images), file.rows[:], atol=1e-6)


def test_normalized_rows_have_length_one_and_no_image_gives_no_row(weights: Path, folder: Path) -> None:
    model = load(weights, model="test_convnext", device="cpu", normalize=True)
    rows = model.embed(sorted(folder.glob("*.png")))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert model.embed([]).shape == (0, rows.shape[1])
    patches = load(weights, model="test_convnext", device="cpu", tokens="patch")
    assert patches.embed([]).shape == (0, *patches.embed([np.zeros((9, 9), np.uint8)]).shape[1:])


def test_an_image_that_cannot_be_read_is_named(model: FeatureModel, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png cannot be read"):
        model.embed([tmp_path / "broken.png"])
    good = np.zeros((8, 8), np.uint8)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    with (
        Image.open(tmp_path / "cut.png") as cut,
        pytest.raises(DataError, match="image 1 cannot be read: image file is truncated"),
    ):
        model.embed([good, cut])
    with pytest.raises(DataError, match="image 1 cannot be read: an array of shape"):
        model.embed([good, np.zeros(7, np.uint8)])
    with pytest.raises(DataError, match="image 0 cannot be read: uint16 image"):  # never dark in silence
        model.embed([np.full((8, 8), 900, np.uint16)])


def test_arrays_of_every_layout_and_tensors_are_the_same_image(model: FeatureModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    frozen = pixels.copy()
    frozen.flags.writeable = False
    chw = torch.from_numpy(pixels).permute(2, 0, 1)
    same: list[ImageLike] = [frozen, np.asfortranarray(pixels), chw.numpy(), chw, Image.fromarray(pixels)]
    np.testing.assert_array_equal(model.embed(same), model.embed([pixels] * len(same)))
    np.testing.assert_array_equal(model.embed(np.stack([pixels] * 2)), model.embed([pixels] * 2))
    black_and_white = pixels[..., 0] > 127
    np.testing.assert_array_equal(model.embed([black_and_white]), model.embed([np.uint8(255) * black_and_white]))


def test_deep_arrays_are_read_in_the_range_of_the_documented_preprocess(weights: Path, model: FeatureModel) -> None:
    twelve_bits = replace(model.preprocess, range_policy="fixed", range_low=0, range_high=4095, source="")
    deep = load(weights, model="test_convnext", device=torch.device("cpu"), preprocess=twelve_bits)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    for dtype in (np.uint16, np.int32, np.float32):
        image = np.rint(pixels.astype(np.float64) * 4095 / 255).astype(dtype)
        np.testing.assert_allclose(deep.embed([image]), model.embed([pixels]), atol=1e-5)
    half = torch.full((20, 30), 2048, dtype=torch.bfloat16)
    np.testing.assert_array_equal(deep.embed([half]), deep.embed([half.float()]))


@pytest.mark.parametrize("kind", ["path", "array", "tensor", "picture"])
def test_images_that_do_not_fit_the_stored_reading_are_logged(
    weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Twelve-bit images nearly black in the full range of 16 bits: the command line warns, so Python does."""
    pixels = (np.random.default_rng(0).random((40, 40)) * 900).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    images: dict[str, ImageLike] = {
        "path": tmp_path / "deep.png",
        "array": pixels,
        "tensor": torch.from_numpy(pixels.astype(np.int32)).to(torch.uint16),
        "picture": Image.fromarray(pixels),
    }
    image, about = images[kind], load(weights, model="test_convnext", device="cpu").preprocess
    model = load(weights, model="test_convnext", device="cpu", preprocess=replace(about, source="", deep=True))
    model.embed([image])
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("dinocli", "WARNING")
    name = str(image) if kind == "path" else "image 0"
    assert f"use less than a sixteenth of the full range, such as {name} (" in record.message
    assert record.message.endswith("in Python, change the `preprocess` of `load`")
    for _ in range(5):
        model.embed([image])
    assert len(caplog.records) == 3, "all images of a program may have the same fault"


def test_a_model_like_a_file_says_that_the_file_is_made_again(
    folder: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "feats.npy"
    embed(job(folder, out, weights=str(weights)))
    caplog.clear()
    model = dinocli.load_like(out, device="cpu")
    see_through = np.dstack(
        [np.full((20, 20, 3), np.arange(20, dtype=np.uint8)[:, None] * 9), np.tri(20, dtype=np.uint8) * 255]
    )
    model.embed([see_through])
    (record,) = caplog.records
    assert record.message.endswith(f"--channels 0 ignores it: make {out} again with it")


def test_masked_pixels_of_an_array_are_no_measurement(model: FeatureModel) -> None:
    pixels = np.full((9, 9), 200, np.uint8)
    masked = np.ma.masked_array(pixels, np.arange(81).reshape(9, 9) < 30)
    np.testing.assert_array_equal(model.embed([masked]), model.embed([masked.filled(0)]))


@pytest.mark.parametrize(
    "one", ["a.png", Path("a.png"), Image.new("L", (9, 9)), np.zeros((9, 9, 3), np.uint8), torch.zeros(9, 9)]
)
def test_one_image_in_place_of_a_list_is_refused(model: FeatureModel, one: Any) -> None:
    """An array would be read row by row, as many images of one line."""
    with pytest.raises(UsageError, match=r"this is one image: give \[image\]"):
        model.embed(one)


def test_what_would_be_ignored_is_refused(model: FeatureModel) -> None:
    with pytest.raises(UsageError, match="batch_size=0: give 1 or more"):
        model.embed([np.zeros((9, 9), np.uint8)], batch_size=0)
    with pytest.raises(DataError, match="image 0 cannot be read: box is a part of a file"):
        model.embed([np.zeros((9, 9), np.uint8)], box=(0, 0, 4, 4))
    for nothing in (None, b"bytes", [[1, 2]]):
        with pytest.raises(DataError, match=r"image 0 cannot be read: a \w+ is not an image; give a path"):
            model.embed([nothing])  # type: ignore[list-item]


def test_the_host_program_keeps_its_random_numbers(weights: Path) -> None:
    before = torch.get_rng_state()
    model = load(weights, model="test_convnext", device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert len(repr(model)) < 1500, "without the layers of the network"
    assert {model: 1}[model] == 1


def test_alpha_is_laid_over_white_as_in_files(model: FeatureModel) -> None:
    clear = np.zeros((9, 9, 4), np.uint8)
    clear[:4, :, 3] = 255  # an alpha that hides all is not an alpha
    white = np.full((9, 9, 3), 255, np.uint8)
    white[:4] = 0
    np.testing.assert_array_equal(model.embed([clear]), model.embed([white]))


def test_tokens_that_the_model_lacks_are_refused(weights: Path) -> None:
    with pytest.raises(WeightsError, match="no class token"):
        load(weights, model="test_convnext", tokens="cls", device="cpu")
    with pytest.raises(UsageError, match="--layers 0: give 1 or more"):
        load(weights, model="test_convnext", layers=0, device="cpu")


def test_tokens_of_a_folder_are_refused_before_weights_are_loaded() -> None:
    with pytest.raises(UsageError, match=r"fitted to a folder: embed one, others with `dinocli\.load_like"):
        load("/nowhere/weights.pt", model="test_convnext", tokens="rare", device="cpu")
