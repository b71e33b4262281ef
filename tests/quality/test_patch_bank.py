import numpy as np
import pytest

from dinocli.quality.patch_bank import PatchBank, coreset, squared_distances, without_rare


@pytest.mark.parametrize("image", [2, 99])
def test_distances_are_those_of_the_slow_loop(image: int) -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(np.repeat(np.arange(5), 10))
    bank = PatchBank(rng.normal(size=(50, 3)).astype(np.float32), order)
    features = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    apart = np.linalg.norm(features[:, None] - bank.features_MD[order != image], axis=-1)
    assert np.allclose(bank.nearest(features, image), apart.min(axis=1), atol=1e-5)


def test_distances_to_a_large_bank_are_those_of_the_slow_loop() -> None:
    rng = np.random.default_rng(0)
    bank = PatchBank(rng.normal(size=(4100, 3)).astype(np.float32), np.zeros(4100, np.int64))  # three blocks
    features = rng.normal(size=(260, 3)).astype(np.float32)
    apart = np.linalg.norm(features[:, None] - bank.features_MD, axis=-1)
    assert np.allclose(bank.nearest(features, 1), apart.min(axis=1), atol=1e-3)


def test_a_defect_that_some_images_share_is_left_out_of_the_bank() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 50, 8)).astype(np.float32)
    features[:3, :2] += 10  # in 3 of 20 images, 6 of 1,000 patches
    images = np.repeat(np.arange(20), 50)
    kept = without_rare(features.reshape(-1, 8), images, 0.1)
    assert len(kept) == 900
    assert not set(kept.tolist()) & {50 * image + place for image in range(3) for place in range(2)}


def test_patches_that_every_image_has_once_are_kept() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 50, 8)).astype(np.float32)
    features[:, 7] = 10 + 0.1 * features[:, 7]  # one patch of fifty, in every image
    features[4, 8] -= 10
    images = np.repeat(np.arange(20), 50)
    shuffled = rng.permutation(1000)
    kept = without_rare(features.reshape(-1, 8)[shuffled], images[shuffled], 0.05)
    assert {50 * image + 7 for image in range(20)} <= set(shuffled[kept].tolist())
    assert 50 * 4 + 8 not in shuffled[kept]


def test_rarity_is_that_of_the_slow_loop() -> None:
    rng = np.random.default_rng(3)
    features, images = rng.normal(size=(90, 4)).astype(np.float32), rng.integers(0, 7, 90)
    rarity = []
    for own, feature in zip(images, features, strict=True):
        apart = np.linalg.norm(features - feature, axis=1)
        rarity.append(sorted(apart[images == other].min() for other in range(7) if other != own)[1])  # 0.3 of 6
    assert without_rare(features, images, 0.2).tolist() == sorted(np.argsort(rarity)[:72].tolist())


def test_the_coreset_takes_the_furthest_each_time() -> None:
    features = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    chosen = coreset(features, 20).tolist()
    for place in range(1, 20):
        nearest = squared_distances(features, features[chosen[:place]]).min(axis=1)
        assert nearest[chosen[place]] == pytest.approx(nearest.max(), rel=1e-4)
    assert coreset(features, 100).tolist() == list(range(60))
