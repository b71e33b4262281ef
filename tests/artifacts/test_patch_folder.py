"""Images with kept aspect ratio, and patch tokens as one file per image."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinocli import journal
from dinocli.augment.resample import normalise
from dinocli.data.decode import image_size
from dinocli.errors import UsageError
from dinocli.models.create import create_backbone
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.embed_dry_run import dry_run
from tests.artifacts.test_partial_features import Killer
from tests.forks import FORKS
from tests.tasks.embed.drive import job, write_images

HALF = (0.5, 0.5, 0.5)  # this model's mean and deviation
SIZES = [(40, 40), (40, 80), (80, 40), (40, 64)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of four shapes, one of them in a folder of its own, and one that cannot be read."""
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    pixels = np.random.default_rng(0)
    for number, size in enumerate(SIZES * 3):
        name = f"inner/{number:02}.png" if number == 2 else f"{number:02}.png"
        Image.fromarray(pixels.integers(0, 256, size, dtype=np.uint8)).save(folder / name)
    (folder / "05.png").write_bytes(b"no image")
    return folder


def files(folder: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(folder)): np.load(path) for path in sorted(folder.rglob("*.npy"))}


def test_rows_keep_their_order_whatever_the_shapes(folder: Path, tmp_path: Path) -> None:
    for name, batch_size in (("one.npy", 1), ("many.npy", 8)):
        embed(job(folder, tmp_path / name, keep_aspect=True, batch_size=batch_size))
    one, many = np.load(tmp_path / "one.npy"), np.load(tmp_path / "many.npy")
    np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-5)
    embed(job(folder, tmp_path / "squashed.npy"))
    squashed = np.load(tmp_path / "squashed.npy")
    names = (tmp_path / "one.paths.txt").read_text().split()
    square = [image_size(folder / name) == (40, 40) for name in names]
    same = np.isclose(squashed, one, rtol=1e-4, atol=1e-5).all(1)
    assert same.tolist() == square


def test_each_image_has_its_grid(folder: Path, tmp_path: Path) -> None:
    asked = job(folder, tmp_path / "patches", kind="patch", keep_aspect=True, size=64, model="vit_tiny_patch16_224")
    plan = dry_run(asked, reporter=_silent())
    outcome = embed(asked)
    found = files(tmp_path / "patches")
    assert (outcome.rows, outcome.shape, outcome.bad) == (11, (-1, -1, 192), 1)
    assert plan["bytes"] == sum(array.nbytes for array in found.values())
    assert set(found) == {f"{name[2:]}.npy" for name in (tmp_path / "patches.paths.txt").read_text().split()}
    assert found["00.png.npy"].shape == (4, 4, 192)
    assert found["01.png.npy"].shape == (4, 8, 192)
    assert found["inner/02.png.npy"].shape == (8, 4, 192)
    torch.manual_seed(0)
    backbone = create_backbone("vit_tiny_patch16_224").eval()
    canvas = np.array(Image.open(folder / "01.png"), np.float32)  # 80 x 40, in floats: PIL rounds nothing then
    wide = np.array(Image.fromarray(canvas).resize((128, 64), Image.Resampling.BICUBIC)).clip(0, 255) / 255
    x = normalise(torch.from_numpy(wide)[None, None], HALF, HALF)
    with torch.no_grad():
        expected = backbone.patch_tokens(x)[0].permute(1, 2, 0)
    np.testing.assert_allclose(found["01.png.npy"], expected, rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "patches.json").read_text())["shape"] == [11, -1, -1, 192]
    with pytest.raises(UsageError, match="patches already exists; remove it, or choose another"):
        embed(asked)


def _silent() -> Killer:
    return Killer(after=1000)


def _patches_and_die(folder: Path, out: Path, after: int) -> None:
    journal.COMMIT_SECONDS = 0.0
    embed(job(folder, out, kind="patch", keep_aspect=True, resume=True), Killer(after))


def test_an_interrupted_patch_folder_is_hidden_and_resumes(folder: Path, tmp_path: Path) -> None:
    embed(job(folder, tmp_path / "whole", kind="patch", keep_aspect=True))
    victim = FORKS.Process(target=_patches_and_die, args=(folder, tmp_path / "patches", 8))
    victim.start()
    victim.join(300)
    assert victim.exitcode == -signal.SIGKILL
    assert not (tmp_path / "patches").exists()
    assert len((tmp_path / ".patches.journal").read_bytes().splitlines()) > 1
    embed(job(folder, tmp_path / "patches", kind="patch", keep_aspect=True, resume=True))
    whole, resumed = files(tmp_path / "whole"), files(tmp_path / "patches")
    assert list(whole) == list(resumed)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    assert embed(job(folder, tmp_path / "patches", kind="patch", keep_aspect=True, resume=True)).rows == 11


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"kind": "patch", "keep_aspect": True}, "its own grid of patches; use a folder"),
        ({"keep_aspect": True, "tile": "32"}, "--keep-aspect is for whole images"),
    ],
)
def test_options_that_a_file_cannot_hold_are_refused(tmp_path: Path, more: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        job(write_images(tmp_path / "images", 1), tmp_path / "feats.npy", **more)  # type: ignore[arg-type]
