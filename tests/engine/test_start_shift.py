import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinocli.artifacts.feature_model import ready
from dinocli.data.image_list import ImageList
from dinocli.data.sources import find_images
from dinocli.engine.start_shift import FEW_SHIFT_IMAGES, shift_of_folder
from dinocli.models.variance_shift import variance_shift
from dinocli.models.weights import load_backbone
from dinocli.models.weights_info import plain_preprocess

CPU = torch.device("cpu")


def test_the_shift_of_a_folder_is_that_of_its_spread_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(FEW_SHIFT_IMAGES + 5):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"{number:02}.png")
    torch.manual_seed(0)
    backbone, info, _ = load_backbone("none", "test_byobnet")
    preprocess, images = replace(plain_preprocess(info), size=32), find_images([str(tmp_path)])
    found = shift_of_folder(ready(backbone, CPU), images, preprocess, 1, CPU)
    names = images.spread(FEW_SHIFT_IMAGES).names
    pixels_B3HW = torch.stack([torch.from_numpy(np.array(Image.open(tmp_path / name))).movedim(2, 0) for name in names])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    assert found == pytest.approx(variance_shift(backbone, [(pixels_B3HW / 255 - mean) / std]), rel=1e-3)
    assert found > 0


def test_without_a_batch_norm_no_image_is_read(tmp_path: Path) -> None:
    backbone, info, _ = load_backbone("none", "test_vit")
    missing = ImageList(tmp_path, [f"./{number}.png" for number in range(4)], [])
    assert math.isnan(shift_of_folder(ready(backbone, CPU), missing, plain_preprocess(info), 1, CPU))
