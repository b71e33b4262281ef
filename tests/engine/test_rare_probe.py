"""A probe with rare patches measures the pooled feature as without them, and synthetic defects with `pooled+rare`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dinocli.config.load import load_recipe
from dinocli.data.cache import Decoder, open_store
from dinocli.data.loader import Loader
from dinocli.data.read import Reader
from dinocli.data.sources import find_images
from dinocli.engine.build_views import probe_crop
from dinocli.engine.probe import Probe, ProbeSample
from dinocli.models.create import create_backbone
from tests.engine.learners import PREPROCESS

IMAGES, SIZE = 12, 128
ABOUT = replace(PREPROCESS, size=SIZE)
CROP = probe_crop(load_recipe(("gentle",), [f"views.global_size={SIZE}", f"views.local_size={SIZE}"]), ABOUT)


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(IMAGES):
        Image.fromarray(random.normal(100, 20, (64, 64)).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    decoder = Decoder(find_images([str(folder)]), Reader(ABOUT, SIZE), 0, "0")
    store = open_store(decoder, cache="auto", shared=False, folder=folder)
    return Loader(store, batch_size=4, seed=0, device=torch.device("cpu"))


@pytest.mark.parametrize("name", ["test_convnext", "test_vit"])
def test_the_pooled_feature_is_measured_as_without_rare_patches(loader: Loader, name: str) -> None:
    torch.manual_seed(0)
    backbone, done = create_backbone(name, drop_path=0.0), list[int]()
    pooled, both = (
        Probe(loader, ProbeSample(range(IMAGES), 1, rare=rare), CROP, ABOUT, done.append) for rare in (False, True)
    )
    without = pooled.measure(backbone, 0)
    done.clear()
    measured = both.measure(backbone, 0)
    assert sum(done) == both.images_per_measurement == pooled.images_per_measurement + IMAGES
    assert measured.scores == without.scores
    assert np.array_equal(measured.values_N, without.values_N)
    assert np.array_equal(measured.defects_N, without.defects_N, equal_nan=True)
    assert len(without.rare_defects_N) == 0
    assert np.isfinite(measured.rare_defects_N).all()
    assert not np.array_equal(measured.rare_defects_N, measured.defects_N)
    again = both.measure(backbone, 1)
    assert np.array_equal(again.rare_defects_N, measured.rare_defects_N), "the same weights, the same share"


def test_features_that_are_not_finite_give_no_score_and_no_error(loader: Loader) -> None:
    backbone = create_backbone("test_convnext", drop_path=0.0)
    probe = Probe(loader, ProbeSample(range(IMAGES), 1, rare=True), CROP, ABOUT)
    next(backbone.parameters()).data.fill_(float("nan"))
    result = probe.measure(backbone, 0)
    assert not result.scores.finite
    assert np.isnan(result.rare_defects_N).all()
