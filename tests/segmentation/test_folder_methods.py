"""K-means and PCA: what is fitted on a folder and means the same in every image of it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality import auto_k
from dinocli.segmentation.kmeans_segments import KMeansMethod
from dinocli.segmentation.method import FeatureGrid, Method, sample_patches
from dinocli.segmentation.pca_foreground import PcaMethod

COLOURS = np.array([[0, 0, 0, 4, 0], [6, 0, 0, 4, 0], [0, 9, 0, 4, 0]], np.float32)


def _images(count: int, noise: float = 0.3) -> tuple[list[FeatureGrid], list[NDArray[np.int64]]]:
    """Ground 0, a band of 1 across the middle, a spot of 2 somewhere in it."""
    rng = np.random.default_rng(0)
    grids, truths = [], []
    for number in range(count):
        truth = np.zeros((12, 16), np.int64)
        truth[4:8, 1:15] = 1
        column = int(rng.integers(3, 11))
        truth[5:7, column : column + 2] = 2
        values = COLOURS[truth] + rng.normal(0, noise, (12, 16, 5))
        grids.append(FeatureGrid(values.astype(np.float32), number))
        truths.append(truth)
    return grids, truths


def test_segments_mean_the_same_in_every_image_the_most_common_first() -> None:
    grids, truths = _images(6)
    fitted = KMeansMethod(segments=3).fit(grids)
    for grid, truth in zip(grids, truths, strict=True):
        assert np.array_equal(fitted.apply(grid).labels(), truth + 1)


@pytest.fixture
def few_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_k, "K_CANDIDATES", (2, 3, 4, 5))


@pytest.mark.usefixtures("few_tried")
def test_the_number_of_segments_is_found() -> None:
    grids, _ = _images(2)
    found = KMeansMethod().fit(grids).parameters
    assert (found["segments"], bool(found["reason"])) == (3, True)
    assert "reason" not in KMeansMethod(segments=3).fit(grids).parameters, "the user chose the number"


def test_soft_maps_are_shares_of_one_and_rare_segments_stand_out() -> None:
    grids, truths = _images(6)
    maps = KMeansMethod(segments=3).fit(grids).apply(grids[0])
    assert maps.soft_Khw.shape == (3, 12, 16)
    assert np.allclose(maps.soft_Khw.sum(0), 1, atol=1e-5)
    standing = [maps.saliency()[truths[0] == kind].mean() for kind in range(3)]
    assert standing == sorted(standing)


@pytest.mark.usefixtures("few_tried")
def test_noise_is_one_segment_and_nothing() -> None:
    rng = np.random.default_rng(0)
    grids = [FeatureGrid(rng.normal(size=(10, 10, 40)).astype(np.float32), image) for image in range(4)]
    fitted = KMeansMethod().fit(grids)
    assert fitted.parameters["segments"] == 1
    assert fitted.apply(grids[0]).empty_reason == "the whole image is one segment"


def test_the_foreground_is_what_the_borders_are_not() -> None:
    grids, truths = _images(6)
    for sign in (1, -1):
        flipped = [FeatureGrid(sign * grid.values_hwD, grid.image) for grid in grids]
        fitted = PcaMethod().fit(flipped)
        for grid, truth in zip(flipped, truths, strict=True):
            front = fitted.apply(grid).labels() > 0
            assert front[truth == 1].all()
            assert not front[truth == 0].any()


def test_an_image_without_the_foreground_is_nothing() -> None:
    grids, _ = _images(6)
    fitted = PcaMethod().fit(grids)
    empty = FeatureGrid((COLOURS[0] + np.random.default_rng(1).normal(0, 0.3, (12, 16, 5))).astype(np.float32))
    assert fitted.apply(empty).empty_reason == "no patch resembles the foreground of the other images"
    assert not fitted.apply(empty).labels().any()


def test_a_folder_of_one_group_is_nothing() -> None:
    rng = np.random.default_rng(0)
    grids = [FeatureGrid(rng.normal(size=(20, 20, 6)).astype(np.float32), image) for image in range(8)]
    maps = PcaMethod().fit(grids).apply(grids[0])
    assert "one group, not two" in maps.empty_reason


@pytest.mark.parametrize("method", [PcaMethod(), KMeansMethod(), KMeansMethod(segments=3)])
@pytest.mark.parametrize("shape", [(4, 5), (1, 1)])
@pytest.mark.parametrize("images", [1, 3])
def test_blank_images_are_nothing(method: Method, shape: tuple[int, int], images: int) -> None:
    grids = [FeatureGrid(np.full((*shape, 5), 0.7, np.float32), number) for number in range(images)]
    fitted = method.fit(grids)
    maps = fitted.apply(grids[0])
    assert maps.empty_reason
    assert all(np.isfinite(extra).all() for extra in (maps.soft_Khw, *maps.extra_maps.values()))
    assert fitted.parameters.get("separation", 0.0) == 0.0


def test_patches_that_differ_by_rounding_have_no_foreground() -> None:
    values = np.full((6, 6, 5), 0.7, np.float32)
    values[2:4, 2:4] = np.nextafter(np.float32(0.7), np.float32(1))
    fitted = PcaMethod().fit([FeatureGrid(values)])
    assert fitted.separation == 0
    assert fitted.apply(FeatureGrid(values)).empty_reason


def test_a_foreground_of_one_patch_has_no_colours() -> None:
    values = np.zeros((6, 6, 5), np.float32)
    values[2, 3] = 1
    fitted = PcaMethod().fit([FeatureGrid(values)])
    maps = fitted.apply(FeatureGrid(values))
    assert fitted.separation == pytest.approx(1)
    assert np.argwhere(maps.soft_Khw[0] > 0.5).tolist() == [[2, 3]]
    assert not fitted.colours_3D.any()


def test_colours_tell_parts_of_the_foreground_apart() -> None:
    grids, truths = _images(6)
    colours = PcaMethod().fit(grids).apply(grids[0]).extra_maps["colours"]
    assert colours.shape == (12, 16, 3)
    parts = [np.median(colours[truths[0] == kind], axis=0) for kind in (1, 2)]
    assert np.abs(parts[0] - parts[1]).max() > 0.5


def test_a_sample_takes_as_many_patches_of_every_image() -> None:
    grids = [FeatureGrid(np.full((4, side, 1), image, np.float32), image) for image, side in ((3, 5), (-7, 9), (4, 1))]
    patches = sample_patches(grids, 30, seed=0)
    assert np.array_equal(patches.features_ND[:, 0], patches.image_N)
    assert {image: int((patches.image_N == image).sum()) for image in (3, -7, 4)} == {3: 10, -7: 10, 4: 4}
