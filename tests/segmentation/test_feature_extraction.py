import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dinocli.config.preprocess import Preprocess
from dinocli.data.sources import find_images
from dinocli.data.tiling import Tiling
from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.segmentation.attention_mask import AttentionMethod
from dinocli.segmentation.feature_extraction import FeatureExtraction, check_tiling
from dinocli.segmentation.method import FeatureKind
from dinocli.segmentation.segment_images import SegmentImage
from dinocli.segmentation.tokencut import TokenCut

PLAIN = Preprocess(
    range_policy="full",
    range_low=0,
    range_high=255,
    deep=False,
    grey=False,
    channels=(),
    page=0,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    size=64,
)


@cache
def network(name: str) -> Backbone:
    torch.manual_seed(0)
    return create_backbone(name).eval()


def extractor(
    name: str = "resnet10t",
    feature_kind: FeatureKind = FeatureKind.PATCHES,
    size: int = 64,
    tiling: Tiling | None = None,
) -> FeatureExtraction:
    own = copy.deepcopy(network(name))
    return FeatureExtraction(own, PLAIN, feature_kind, torch.device("cpu"), size, tiling)


def texture(height: int, width: int) -> NDArray[np.uint8]:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((height, width)), 3)
    scaled: NDArray[np.float64] = (noise - noise.min()) / np.ptp(noise) * 255
    return scaled.astype(np.uint8)


def read(one: FeatureExtraction, folder: Path, pixels: NDArray[np.uint8]) -> SegmentImage:
    Image.fromarray(pixels).save(folder / "a.png")
    (picture,) = one.reader.read_images(find_images([str(folder)]), [0], 0)
    assert isinstance(picture, SegmentImage)
    return picture


@pytest.mark.parametrize("feature_kind", [FeatureKind.PATCHES, FeatureKind.KEYS])
@pytest.mark.parametrize(("name", "multiple"), [("resnet10t", 32), ("vit_tiny_patch16_224", 16)])
def test_grids_have_the_size_that_the_frame_says(
    tmp_path: Path, name: str, multiple: int, feature_kind: FeatureKind
) -> None:
    one = extractor(name, feature_kind)
    picture = read(one, tmp_path, texture(100, 150))
    assert picture.source_CHW.shape == (3, 100, 150)
    assert picture.canvas_CHW.shape[1:] == picture.geometry.canvas == (64, 96)
    assert one.grid(picture).values_hwD.shape[:2] == picture.geometry.grid
    assert picture.geometry.grid == (64 // picture.geometry.step, 96 // picture.geometry.step)
    assert multiple % picture.geometry.step == 0


@pytest.mark.parametrize("feature_kind", [FeatureKind.PATCHES, FeatureKind.KEYS, FeatureKind.ATTENTION])
def test_a_smaller_stride_gives_more_cells(tmp_path: Path, feature_kind: FeatureKind) -> None:
    one = extractor("vit_tiny_patch16_224", feature_kind)
    one.backbone.set_stride(8)
    picture = read(one, tmp_path, texture(64, 96))
    assert one.grid(picture).values_hwD.shape[:2] == picture.geometry.grid == (7, 11)


def test_coarse_features_lie_on_the_grid_of_the_whole_image(tmp_path: Path) -> None:
    one = extractor(feature_kind=FeatureKind.COARSE, size=288)
    picture = read(one, tmp_path, texture(144, 192))
    grid = one.grid(picture)
    assert grid.values_hwD.shape[:2] == (6, 8)
    assert grid.fine_size == picture.geometry.grid == (36, 48)
    both = extractor(feature_kind=FeatureKind.PATCHES_AND_COARSE, size=288).grid(picture)
    assert both.coarse is not None
    np.testing.assert_array_equal(both.coarse.values_hwD, grid.values_hwD)
    fine = extractor(feature_kind=FeatureKind.PATCHES, size=288).grid(picture)
    np.testing.assert_array_equal(both.values_hwD, fine.values_hwD)
    for name, size in (("resnet10t", 256), ("vit_tiny_patch16_224", 288)):
        for kind, option in ((FeatureKind.COARSE, "coarse"), (FeatureKind.PATCHES_AND_COARSE, "both")):
            with pytest.raises(UsageError, match=f"--features {option} needs a convnet, --size 288"):
                extractor(name, kind, size)


def test_tiles_of_one_image_make_one_grid(tmp_path: Path) -> None:
    tiled = extractor(size=0, tiling=Tiling(192, 64))
    picture = read(tiled, tmp_path, texture(400, 500))
    assert picture.geometry.canvas == (384, 512)  # the nearest multiples of 32
    assert tiled.grid(picture).values_hwD.shape[:2] == picture.geometry.grid


def test_tiles_agree_with_the_whole_where_a_convnet_sees_no_border(tmp_path: Path) -> None:
    tiled, whole = extractor(size=0, tiling=Tiling(256, 128)), extractor(size=0)
    picture = read(tiled, tmp_path, texture(384, 512))
    ours, exact = tiled.grid(picture).values_hwD, whole.grid(picture).values_hwD
    apart = np.linalg.norm(ours - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    assert np.median(apart) < 0.02
    assert apart.max() < 0.35


def test_there_are_no_seams(tmp_path: Path) -> None:
    tiled = extractor(size=0, tiling=Tiling(128, 32))
    picture = read(tiled, tmp_path, texture(320, 608))
    values = tiled.grid(picture).values_hwD
    steps = np.linalg.norm(np.diff(values, axis=1), axis=-1).mean(axis=0)  # between columns of cells
    step = picture.geometry.step
    near = np.zeros(len(steps), bool)
    for start in range(96, 608 - 32, 96):  # where neighbours overlap
        near[start // step - 1 : (start + 32) // step + 1] = True
    inside = steps[~near]
    assert steps[near].mean() < inside.mean() * 1.05
    assert steps[near].max() < inside.max()


def test_a_constant_image_has_constant_cells_inside(tmp_path: Path) -> None:
    tiled = extractor(size=0, tiling=Tiling(256, 128))
    values = tiled.grid(read(tiled, tmp_path, np.full((512, 512), 99, np.uint8))).values_hwD
    inside = values[16:-16, 16:-16]
    assert np.ptp(inside, axis=(0, 1)).max() < 0.1 * np.abs(inside).max()


@pytest.mark.parametrize(
    ("name", "feature_kind", "method"),
    [
        ("resnet10t", FeatureKind.KEYS, TokenCut(affinity_threshold=None)),
        ("vit_tiny_patch16_224", FeatureKind.KEYS, TokenCut()),
        ("vit_tiny_patch16_224", FeatureKind.ATTENTION, AttentionMethod()),
    ],
)
def test_nothing_stands_out_in_a_blank_image(
    tmp_path: Path, name: str, feature_kind: FeatureKind, method: TokenCut | AttentionMethod
) -> None:
    one = extractor(name, feature_kind)
    picture = read(one, tmp_path, np.zeros((64, 96), np.uint8))
    grid = one.grid(picture)
    assert not np.ptp(grid.values_hwD, axis=(0, 1)).any()
    assert grid.deep is None
    assert not method.apply(grid).labels().any()


def test_an_unreadable_image_is_named_with_its_reason(tmp_path: Path) -> None:
    one = extractor()
    (tmp_path / "a.png").write_bytes(b"no image")
    Image.fromarray(texture(40, 40)).save(tmp_path / "b.png")
    bad, good = one.reader.read_images(find_images([str(tmp_path)]), [0, 1], 1)
    assert bad == (0, "not an image in a known format")
    assert isinstance(good, SegmentImage)


def test_tiles_have_to_be_patches_and_methods_have_to_allow_them(tmp_path: Path) -> None:
    tiny = extractor(size=0, tiling=Tiling(16, 0))
    with pytest.raises(UsageError, match="--tile 16 is less than two patches"):
        tiny.grid(read(tiny, tmp_path, texture(64, 64)))
    with pytest.raises(UsageError, match="--method tokencut needs the whole image"):
        check_tiling("tokencut", Tiling(64, 8), whole_image_only=True)
    check_tiling("tokencut", None, whole_image_only=True)
    check_tiling("anomaly", Tiling(64, 8), whole_image_only=False)
