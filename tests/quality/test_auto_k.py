import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from dinocli.quality import auto_k
from dinocli.quality.auto_k import choose_k, silhouette
from dinocli.quality.normalized_features import NormalizedFeatures
from tests.quality.groups import cloud, mixture


@pytest.fixture(autouse=True)
def few_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_k, "K_CANDIDATES", (2, 3, 4, 5, 6))


def test_silhouette_is_that_of_scikit_learn() -> None:
    points, truth = mixture(4, 120, noise=1.5)
    truth[5], distance = (
        4,
        1 - NormalizedFeatures(points).take(slice(None)) @ NormalizedFeatures(points).take(slice(None)).T,
    )
    np.fill_diagonal(distance, 0)
    wanted = silhouette_score(distance, truth, metric="precomputed")
    assert silhouette(distance, truth, 5) == pytest.approx(wanted, abs=1e-5)
    assert silhouette(distance, truth, 6) == pytest.approx(wanted, abs=1e-5)  # an empty group does not count


@pytest.mark.parametrize("groups", [2, 5])
def test_clear_groups_are_counted(groups: int) -> None:
    points, _ = mixture(groups, 200, noise=0.8)
    choice = choose_k(NormalizedFeatures(points))
    assert (choice.k, choice.clear) == (groups, True)
    assert f"k = {groups} of 2 to 6" in choice.reason
    best = max(choice.curve, key=lambda one: one.score)
    assert best.k == groups
    assert best.stability > 0.95
    assert [one.k for one in choice.curve] == [2, 3, 4, 5, 6]


def test_a_long_cloud_has_no_clear_groups_although_its_halves_agree() -> None:
    choice = choose_k(NormalizedFeatures(cloud(300)))
    assert not choice.clear
    assert choice.reason.startswith("no clear groups")
    assert max(one.stability for one in choice.curve) > 0.5


def test_few_images_are_not_searched() -> None:
    assert choose_k(NormalizedFeatures(cloud(7))).k == 1
    assert [one.k for one in choose_k(NormalizedFeatures(cloud(13))).curve] == [2, 3]


def test_equal_images_are_one_group() -> None:
    rows_ND = np.tile(np.random.default_rng(0).normal(size=16).astype(np.float32), (40, 1))
    choice = choose_k(NormalizedFeatures(rows_ND * np.linspace(1, 3, 40, dtype=np.float32)[:, None]))
    assert (choice.k, choice.clear) == (1, False)
    assert "all images have the same features" in choice.reason
    rows_ND[20:] += np.float32(0.05)
    assert choose_k(NormalizedFeatures(rows_ND)).k > 1


def test_threads_change_nothing_and_the_seed_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_k, "K_CANDIDATES", (2, 3))
    points, _ = mixture(3, 40, noise=2)
    one, two, other = (
        choose_k(NormalizedFeatures(points, threads=threads), seed=seed) for threads, seed in ((1, 0), (2, 0), (1, 1))
    )
    assert one == two
    assert one != other
