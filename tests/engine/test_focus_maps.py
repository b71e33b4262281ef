"""Focus maps of the initial backbone find a pattern that only one image has."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinocli.config.preprocess import Preprocess
from dinocli.data.cache import Decoder, open_store
from dinocli.data.loader import Loader
from dinocli.data.read import Reader
from dinocli.data.region_of_interest import parse_roi
from dinocli.data.sources import find_images
from dinocli.engine.focus_maps import build_focus
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.progress import ProgressReporter
from tests.engine.learners import PREPROCESS

ABOUT = replace(PREPROCESS, size=128)
PLANTED, SQUARE = {3: (32, 64), 7: (96, 0)}, 32
"""Top and left of a square, by the number of its image, and its side."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home, random = tmp_path_factory.mktemp("planted"), np.random.default_rng(0)
    for number in range(12):
        pixels = random.normal(100, 10, (128, 128))
        if number in PLANTED:
            top, left = PLANTED[number]
            pixels[top : top + SQUARE, left : left + SQUARE] += 80 * (np.indices((SQUARE, SQUARE)).sum(0) % 2)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(home / f"{number:02d}.png")
    Image.fromarray(np.zeros((40, 128), np.uint8)).save(home / "strip.png")
    return home


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return create_backbone("test_convnext", drop_path=0.0)


def loader(folder: Path, about: Preprocess) -> Loader:
    decoder = Decoder(find_images([str(folder)]), Reader(about, 128), 0, "0")
    store = open_store(decoder, cache="auto", shared=False, folder=folder)
    return Loader(store, batch_size=4, seed=0, device=torch.device("cpu"))


def test_the_planted_place_weighs_most_and_a_strip_has_no_map(folder: Path, backbone: Backbone) -> None:
    source = loader(folder, ABOUT)
    focus, again = (build_focus(backbone, source, 0.5, ABOUT, ProgressReporter()) for _ in range(2))
    assert focus is not None
    assert again is not None
    assert np.array_equal(focus.maps_Mgg, again.maps_Mgg), "a resumed run looks where it looked"
    assert focus.region_gg is None
    cells = focus.maps_Mgg.shape[1]
    for image, (top, left) in PLANTED.items():
        row, column = np.unravel_index(focus.maps_Mgg[image].argmax(), (cells, cells))
        assert top <= (row + 0.5) / cells * 128 < top + SQUARE
        assert left <= (column + 0.5) / cells * 128 < left + SQUARE
    assert (focus.maps_Mgg.reshape(13, -1).max(axis=1) > 0).tolist() == [True] * 12 + [False]
    assert build_focus(backbone, source, 0.0, ABOUT, ProgressReporter()) is None


def test_a_mask_draws_all_crops_inside(folder: Path, backbone: Backbone, tmp_path: Path) -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[:, :8], mask[64:, :64] = 255, 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    squares = shutil.copytree(folder, tmp_path / "squares", ignore=shutil.ignore_patterns("strip.png"))
    about = replace(ABOUT, roi=parse_roi(str(tmp_path / "mask.png")))
    source = loader(squares, about)
    focus = build_focus(backbone, source, 0.0, about, ProgressReporter())
    assert focus is not None
    assert focus.share == 1
    assert focus.maps_Mgg[0, 8:].min() == 255
    assert focus.maps_Mgg[0, :8, 4:].max() == 0
    both = build_focus(backbone, source, 0.5, about, ProgressReporter())
    assert both is not None
    assert both.region_gg is not None
    half = both.maps_Mgg.shape[1] // 2
    assert both.maps_Mgg[:, :half, half:].max() == 0, "rare places outside do not count"
    box = replace(ABOUT, roi="0,0,64,64")
    assert build_focus(backbone, loader(squares, box), 0.0, box, ProgressReporter()) is None
