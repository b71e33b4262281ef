import re
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from dinocli.errors import UsageError, WeightsError
from dinocli.quality import layout
from dinocli.quality.layout import check_layout, place
from dinocli.quality.normalized_features import NormalizedFeatures
from tests.quality.groups import cloud, mixture


def test_pca_shows_the_two_longest_directions() -> None:
    points = NormalizedFeatures(cloud(200))
    units = points.take(slice(None))
    places, method = place(points, "pca")
    share = places.var(axis=0).sum() / units.var(axis=0).sum()
    assert method == f"PCA: the two directions of largest variance, {share:.0%} of it"
    np.testing.assert_allclose(places.var(axis=0, ddof=1), np.linalg.eigvalsh(np.cov(units.T))[:-3:-1], rtol=1e-3)


def test_tsne_keeps_neighbours_together_and_follows_the_seed() -> None:
    points, truth = mixture(3, 60, noise=0.3)
    places, method = place(NormalizedFeatures(points), "tsne")
    assert re.fullmatch(r"t-SNE: perplexity 19\.7, of \d+ PCA directions, seed 0", method)
    distance = np.linalg.norm(places[:, None] - places, axis=2) + np.diag(np.full(60, np.inf))
    assert (truth[distance.argmin(axis=1)] == truth).mean() > 0.95
    np.testing.assert_array_equal(places, place(NormalizedFeatures(points), "tsne").place_N2)


def test_tsne_refuses_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "TSNE_ROWS", 50)
    with pytest.raises(UsageError, match="at most 50 images, not 51; use pca or umap"):
        place(NormalizedFeatures(cloud(51)), "tsne")


@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap_keeps_neighbours_together_and_follows_the_seed() -> None:
    points, truth = mixture(3, 60, noise=0.3)
    places, again, other = (place(NormalizedFeatures(points), "umap", seed=seed).place_N2 for seed in (0, 0, 1))
    distance = np.linalg.norm(places[:, None] - places, axis=2) + np.diag(np.full(60, np.inf))
    assert (truth[distance.argmin(axis=1)] == truth).mean() > 0.95
    np.testing.assert_array_equal(places, again)
    assert not np.array_equal(places, other)
    for count in (4, 5):
        assert np.isfinite(place(NormalizedFeatures(points[:count]), "umap").place_N2).all()


def test_error_without_umap_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(WeightsError, match=r"pip install 'dinocli\[umap\]'"):
        check_layout("umap")
    check_layout("tsne")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_or_equal_images_get_places_too(count: int) -> None:
    for way in ("pca", "tsne", "umap"):
        assert place(NormalizedFeatures(cloud(count)), way).place_N2.shape == (count, 2)
    assert np.isfinite(place(NormalizedFeatures(np.ones((count, 4), np.float32)), "pca").place_N2).all()


@pytest.mark.parametrize("kinds", [1, 2])
@pytest.mark.parametrize("count", [8, 40])
def test_copies_of_one_or_two_images_lie_on_a_line(kinds: int, count: int) -> None:
    points = np.random.default_rng(0).normal(size=(kinds, 64)).repeat(count // kinds, 0).astype(np.float32)
    places, method = place(NormalizedFeatures(points), "tsne")
    assert method == "PCA: the two directions of largest variance, 100% of it"
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    assert len({tuple(row) for row in places.round(4).tolist()}) == kinds
