import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray

from dinocli.errors import UsageError
from dinocli.models.create import create_backbone
from dinocli.segmentation.feature_extraction import feature_grids
from dinocli.segmentation.method import FeatureGrid, FeatureKind
from dinocli.segmentation.normalized_cut import WEAK_EDGE, affinity, second_vector
from dinocli.segmentation.tokencut import MAX_PATCHES, TokenCut, seed_component

RNG = np.random.default_rng(0)


def _dense(graph_NN: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    degrees = np.diag(graph_NN.sum(axis=1))
    values, vectors = scipy.linalg.eigh(degrees - graph_NN, degrees)
    return float(values[1]), vectors[:, 1]


def _real() -> NDArray[np.float32]:
    torch.manual_seed(0)
    waves = torch.sin(torch.arange(160)[None, None, None] * torch.linspace(0.05, 0.6, 160)[None, None, :, None])
    x = waves.expand(1, 3, -1, -1) + 0.3 * torch.randn(1, 3, 160, 160)
    backbone = create_backbone("vit_tiny_patch16_224").eval()
    keys_ND: NDArray[np.float32] = feature_grids(backbone, x, FeatureKind.KEYS)[0].reshape(100, -1)
    return keys_ND


@pytest.mark.parametrize("kind", ["clusters", "noise", "weighted", "keys"])
def test_equals_a_dense_generalised_solver(kind: str) -> None:
    if kind == "clusters":
        features = RNG.normal(size=(150, 8)) + np.repeat(RNG.normal(size=(3, 8)) * 3, 50, axis=0)
        graph = affinity(features.astype(np.float32), 0.2)
    elif kind == "noise":
        graph = affinity(RNG.normal(size=(120, 6)).astype(np.float32), None)
    elif kind == "weighted":
        half = RNG.random((90, 90))
        graph = half + half.T
    else:
        keys = _real()
        graph = affinity(keys - keys.mean(0), 0.2)
    lambda_2, vector = second_vector(graph)
    expected, dense = _dense(graph)
    assert lambda_2 == pytest.approx(expected, abs=1e-9)
    inside, other = vector > vector.mean(), dense > dense.mean()
    assert 0 < inside.sum() < len(inside)
    assert np.array_equal(inside, other) or np.array_equal(inside, ~other)
    assert vector[np.abs(vector).argmax()] > 0


def test_affinities_by_hand() -> None:
    features = np.array([[1, 0], [2, 0.1], [0, 1]], np.float32)
    assert affinity(features, 0.2).tolist() == [[1, 1, WEAK_EDGE], [1, 1, WEAK_EDGE], [WEAK_EDGE, WEAK_EDGE, 1]]
    near = np.array([[0, 0], [0, 1], [5, 5]], np.float32)
    assert affinity(near, None).tolist() == [[1, 1, WEAK_EDGE], [1, 1, WEAK_EDGE], [WEAK_EDGE, WEAK_EDGE, 1]]


def _scene(*boxes: tuple[slice, slice], noise: float = 0.05) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    scene = np.tile(np.array([1, 0, 0, 0], np.float32), (16, 20, 1))
    for number, box in enumerate(boxes, start=1):
        scene[box] = np.eye(4)[number]
    return (scene + rng.normal(0, noise, scene.shape)).astype(np.float32)


def test_one_object_is_found_exactly() -> None:
    box = (slice(5, 9), slice(3, 10))
    for affinity_threshold in (0.2, None):
        maps = TokenCut(affinity_threshold=affinity_threshold).apply(FeatureGrid(_scene(box)))
        expected = np.zeros((16, 20), bool)
        expected[box] = True
        assert maps.empty_reason == ""
        assert np.array_equal(maps.labels() == 1, expected)
        assert maps.metrics["lambda_2"] < 0.05


def test_several_objects_come_one_after_the_other() -> None:
    boxes = ((slice(2, 7), slice(2, 8)), (slice(10, 13), slice(12, 17)))
    scene = _scene(*boxes, noise=0.02)
    maps = TokenCut(objects=3).apply(FeatureGrid(scene))
    assert maps.metrics["objects"] == 2, "the third cut is not an object"
    assert np.bincount(maps.labels().ravel()).tolist() == [16 * 20 - 45, 30, 15]
    assert TokenCut(objects=1).apply(FeatureGrid(scene)).soft_Khw.shape[0] == 1


def test_keys_that_share_a_large_part_are_tied_by_their_own_distances() -> None:
    """As those of DINOv2: the paper's threshold ties all of them, and no image has an object."""
    box = (slice(5, 9), slice(3, 10))
    shared = FeatureGrid(_scene(box) + np.array([0, 0, 0, 4], np.float32))
    assert TokenCut().apply(shared).empty_reason == "all patches look alike"
    fitted = TokenCut().fit([shared, shared])
    assert fitted.parameters == {"affinity_threshold": "otsu"}
    expected = np.zeros((16, 20), bool)
    expected[box] = True
    assert np.array_equal(fitted.apply(shared).labels() == 1, expected)
    plain = FeatureGrid(_scene(box, (slice(10, 16), slice(0, 20))))
    assert TokenCut().fit([plain, plain, shared]) == TokenCut(), "most of the sample is not"


def test_a_frame_around_the_image_is_not_the_object() -> None:
    scene = _scene((slice(1, 15), slice(1, 19)))
    labels = TokenCut().apply(FeatureGrid(scene)).labels()
    assert labels[8, 10] == 1
    assert labels[0, 0] == 0


def test_noise_and_flatness_are_nothing() -> None:
    noise = RNG.normal(size=(16, 16, 12)).astype(np.float32)
    assert "no object stands out" in TokenCut(affinity_threshold=None).apply(FeatureGrid(noise)).empty_reason
    flat = TokenCut().apply(FeatureGrid(np.ones((8, 8, 4), np.float32)))
    assert flat.empty_reason == "all patches look alike"
    assert not flat.labels().any()
    assert TokenCut().apply(FeatureGrid(np.ones((1, 2, 4), np.float32))).empty_reason == "too few patches to cut"


def test_a_speck_is_nothing() -> None:
    scene = _scene((slice(4, 5), slice(4, 5)), noise=0.0)
    assert "covers 0.3%" in TokenCut().apply(FeatureGrid(scene)).empty_reason


def test_the_seed_is_the_highest_place_inside() -> None:
    inside = np.array([[1, 1, 0, 1], [0, 0, 0, 1]], bool)
    values = np.array([[1, 2, 9, 3], [0, 0, 0, 1]], float)
    assert seed_component(inside, values).tolist() == [[False, False, False, True], [False, False, False, True]]


def test_too_many_patches_are_refused() -> None:
    with pytest.raises(UsageError, match=f"{MAX_PATCHES} at most"):
        TokenCut().apply(FeatureGrid(np.zeros((81, 80, 1), np.float32)))


def test_the_deepest_map_of_a_convnet_is_cut_where_its_keys_have_no_object() -> None:
    noise = RNG.normal(size=(32, 40, 12)).astype(np.float32)
    box = (slice(5, 9), slice(3, 10))
    cut = TokenCut(affinity_threshold=None)
    maps = cut.apply(FeatureGrid(noise, deep=lambda: _scene(box)))
    expected = np.zeros((32, 40), bool)
    expected[10:18, 6:20] = True
    found = maps.labels() == 1
    assert (found & expected).sum() >= 0.9 * (found | expected).sum()
    assert maps.metrics["objects"] == 1
    assert (
        "no object stands out"
        in cut.apply(FeatureGrid(noise, deep=lambda: _scene((slice(2, 14), slice(2, 17))))).empty_reason
    ), "half"
    sharp = np.kron(_scene(box), np.ones((2, 2, 1), np.float32))
    needless = FeatureGrid(sharp, deep=lambda: pytest.fail("keys with an object need no deeper map"))
    assert np.array_equal(cut.apply(needless).labels() == 1, expected)


def test_what_reaches_along_the_border_is_ground_or_sky_to_a_convnet() -> None:
    ground = FeatureGrid(_scene((slice(11, 16), slice(0, 20))))
    assert "of the image border" in TokenCut(affinity_threshold=None).apply(ground).empty_reason
    assert TokenCut().apply(ground).empty_reason == ""
