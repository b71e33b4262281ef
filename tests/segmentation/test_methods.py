from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.segmentation.annotation_formats import COLUMNS
from dinocli.segmentation.anomaly import Anomaly
from dinocli.segmentation.method import FeatureGrid, FeatureKind
from dinocli.segmentation.method_choice import METHODS, make_method, pick_method
from dinocli.segmentation.method_options import check_method
from dinocli.segmentation.tokencut import AFFINITY_THRESHOLD, TokenCut


@pytest.fixture(scope="module")
def vit() -> Backbone:
    return create_backbone("vit_tiny_patch16_224").eval()


@pytest.fixture(scope="module")
def convnet() -> Backbone:
    return create_backbone("resnet10t").eval()


def test_every_name_makes_its_method(vit: Backbone) -> None:
    for name, kind in METHODS.items():
        assert type(make_method(name, {}, vit)) is kind


def test_the_backbone_settles_the_tie(vit: Backbone, convnet: Backbone) -> None:
    assert make_method("tokencut", {"objects": 3}, vit) == TokenCut(objects=3, affinity_threshold=AFFINITY_THRESHOLD)
    assert make_method("tokencut", {}, convnet) == TokenCut(affinity_threshold=None)
    assert make_method("anomaly", {}, vit, reference=True, seed=4) == Anomaly(reference=True, seed=4)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tokncut", "did you mean tokencut"),
        ("magic", "use one of auto, attention"),
        ("attention", "resnet10t has no attention"),
    ],
)
def test_an_unknown_or_unsuitable_method_is_refused(convnet: Backbone, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_method(name, {}, convnet)


def test_the_choice_of_auto_refuses_options_of_the_other_method() -> None:
    check_method("auto", ["objects"])
    with pytest.raises(UsageError, match="--objects belongs to --method tokencut, not to anomaly"):
        check_method("anomaly", ["objects"])


def _grids(count: int, objects: int) -> list[FeatureGrid]:
    rng = np.random.default_rng(0)
    grids = []
    for image in range(count):
        values = rng.normal(size=(12, 12, 16)) * (0.1 if image < objects else 1)
        if image < objects:
            values[..., 0] += 1
            values[4:8, 4:8, :2] += [-1, 1]
        grids.append(FeatureGrid(values.astype(np.float32), image))
    return grids


def _sample(backbone: Backbone, grids: list[FeatureGrid], cosine: float) -> Any:
    def of_kind(feature_kind: FeatureKind) -> list[FeatureGrid]:
        assert feature_kind == FeatureKind.KEYS
        return grids

    extraction = SimpleNamespace(backbone=backbone)
    return SimpleNamespace(grids=of_kind, similarity=lambda count: cosine, extraction=extraction)


@pytest.mark.parametrize(("objects", "name"), [(7, "tokencut"), (4, "anomaly"), (0, "anomaly")])
def test_objects_in_most_images_make_a_folder_of_objects(convnet: Backbone, objects: int, name: str) -> None:
    found, why = pick_method(_sample(convnet, _grids(8, objects), 0.5))
    assert found == name
    assert f"in {objects} of 8 images" in why


def test_images_of_one_part_are_compared_whatever_stands_out(convnet: Backbone) -> None:
    found, why = pick_method(_sample(convnet, _grids(8, 8), 0.9))
    assert (found, "mean cosine 0.90" in why) == ("anomaly", True)
    assert pick_method(_sample(convnet, _grids(8, 8), 0.6), similarity_change=-0.3)[0] == "anomaly", "adapted weights"


def test_images_of_many_things_are_tried_as_tokencut_will_cut_them(convnet: Backbone) -> None:
    """Of a convnet with the deepest map, which shows an object on any surface, also where there is none."""
    objects = [grid.values_hwD[::2, ::2] for grid in _grids(8, 8)]
    grids = [replace(grid, deep=partial(np.array, deep)) for grid, deep in zip(_grids(8, 0), objects, strict=True)]
    assert pick_method(_sample(convnet, grids, 0.3))[0] == "tokencut"
    assert pick_method(_sample(convnet, grids, 0.5))[0] == "anomaly"
    assert pick_method(_sample(convnet, _grids(8, 0), 0.3))[0] == "anomaly"


def test_one_image_alone_is_cut(convnet: Backbone) -> None:
    assert pick_method(_sample(convnet, _grids(1, 0), 0.5))[0] == "tokencut"


@pytest.mark.parametrize("name", METHODS)
def test_no_metric_has_the_name_of_another_column_of_the_table(vit: Backbone, name: str) -> None:
    values = abs(np.random.default_rng(0).normal(size=(3, 8, 8, 3))).astype(np.float32)
    grids = [FeatureGrid(values_hwD, image) for image, values_hwD in enumerate(values)]
    metrics = make_method(name, {}, vit).fit(grids).apply(grids[0]).metrics
    assert metrics
    assert not set(metrics) & set(COLUMNS)
