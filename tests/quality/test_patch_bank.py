import numpy as np
import pytest

from dinocli.quality.patch_bank import PatchBank, coreset, squared_distances


def _bank(width: int = 3) -> PatchBank:
    rng = np.random.default_rng(0)
    order = rng.permutation(np.repeat(np.arange(5), 10))
    return PatchBank.of(rng.normal(size=(50, width)).astype(np.float32), order)


@pytest.mark.parametrize("image", [2, 99])
def test_distances_are_those_of_the_slow_loop(image: int) -> None:
    bank = _bank()
    features = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    others = [number for number in range(5) if number != image]
    apart = np.linalg.norm(features[:, None] - bank.features_MD, axis=-1)
    per_image = np.stack([apart[:, bank.image_M == number].min(axis=1) for number in others])
    assert np.allclose(bank.nearest(features, image), per_image.min(axis=0), atol=1e-5)
    count = max(1, round(0.3 * len(others)))
    assert np.allclose(bank.mutual(features, image), np.sort(per_image, axis=0)[:count].mean(axis=0), atol=1e-5)


def test_a_defect_that_some_images_share_is_far_from_most() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 50, 8)).astype(np.float32)
    features[:3, :2] += 10  # in 3 of 20 images
    bank = PatchBank.of(features.reshape(-1, 8), np.repeat(np.arange(20), 50))
    mutual, nearest = (measure(features[0], 0) for measure in (bank.mutual, bank.nearest))
    assert mutual[:2].min() > 2 * mutual[2:].max()
    assert nearest[:2].max() < 2 * nearest[2:].max()


def test_the_coreset_takes_the_furthest_each_time() -> None:
    features = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    chosen = coreset(features, 20).tolist()
    for place in range(1, 20):
        nearest = squared_distances(features, features[chosen[:place]]).min(axis=1)
        assert nearest[chosen[place]] == pytest.approx(nearest.max(), rel=1e-4)
    assert coreset(features, 100).tolist() == list(range(60))
