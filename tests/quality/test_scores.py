import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality import cosine
from dinocli.quality.scores import (
    alpha_req,
    augmentation_retrieval,
    feature_std,
    linear_cka,
    rankme,
    uniformity,
)

Features = NDArray[np.float32]


def normal(count: int, width: int, seed: int = 0) -> Features:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def constant(count: int, width: int) -> Features:
    return np.tile(normal(1, width, seed=9), (count, 1))


def power_law(count: int, width: int, alpha: float) -> Features:
    """Return features whose centred covariance has exactly the eigenvalues rank^-alpha."""
    raw = np.random.default_rng(3).standard_normal((count, width))
    basis, _ = np.linalg.qr(raw - raw.mean(axis=0))
    return np.asarray(basis * np.arange(1, width + 1) ** (-alpha / 2), dtype=np.float32)


def test_feature_std_hand_value() -> None:
    # one image per axis: each dimension is 1 once and 0 else, variance 1/4 - 1/16
    assert feature_std(np.eye(4, dtype=np.float32) * 7) == pytest.approx(np.sqrt(3 / 16) * 2)


def test_feature_std_is_one_at_most_and_zero_when_collapsed() -> None:
    assert 0.99 < feature_std(normal(2000, 64)) <= 1
    assert feature_std(constant(50, 64)) == pytest.approx(0, abs=1e-12)
    assert feature_std(np.zeros((5, 8), dtype=np.float32)) == 0


def test_feature_std_falls_with_a_common_mean() -> None:
    features = normal(500, 64)
    assert feature_std(features + 3) < 0.5 * feature_std(features)


def test_uniformity_equals_the_slow_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    features = normal(20, 4)
    features[3] = 0  # a row of zeros is similar to no other
    units = [row / max(float(np.linalg.norm(row)), 1e-9) for row in features]
    squared = [2 - 2 * float(a @ b) for i, a in enumerate(units) for j, b in enumerate(units) if i != j]
    for values in (1, 7 * 20, 1 << 24):
        monkeypatch.setattr(cosine, "_BLOCK_VALUES", values)
        assert uniformity(features) == pytest.approx(np.log(np.mean(np.exp(-2 * np.array(squared)))), abs=1e-6)


def test_uniformity_hand_values() -> None:
    assert uniformity(np.eye(4, dtype=np.float32) * 7) == pytest.approx(-4)  # all orthogonal: exp(-2 * 2)
    assert uniformity(constant(50, 64)) == pytest.approx(0)


def test_rankme_counts_equal_directions() -> None:
    # +e and -e on each of 6 axes: the mean is 0 and all six singular values are equal
    axes = np.eye(6, 32, dtype=np.float32)
    assert rankme(np.concatenate([axes, -axes])) == pytest.approx(6)


def test_rankme_ignores_the_mean_and_the_scale() -> None:
    features = normal(300, 40)
    assert rankme(5 * features + 100) == pytest.approx(rankme(features), rel=1e-4)


def test_rankme_sees_planted_dimensions() -> None:
    assert rankme(normal(1000, 20) @ normal(20, 384, seed=1)) == pytest.approx(20, abs=1.5)


def test_rankme_of_one_point_is_zero_in_spite_of_rounding() -> None:
    assert rankme(constant(200, 64)) == 0


def test_alpha_finds_the_planted_decay() -> None:
    assert alpha_req(power_law(400, 100, alpha=1.0)) == pytest.approx(1.0, abs=1e-3)
    assert alpha_req(power_law(400, 100, alpha=2.0)) == pytest.approx(2.0, abs=1e-2)


def test_alpha_excludes_the_first_ten_and_the_second_half() -> None:
    features = power_law(400, 100, alpha=1.0)
    features[:, :10] *= 50
    features[:, 50:] *= 0.01
    assert alpha_req(features) == pytest.approx(1.0, abs=1e-2)
    features[:, 20:30] *= 0.1
    assert alpha_req(features) != pytest.approx(1.0, abs=1e-2)


def test_alpha_excludes_directions_without_variance() -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((200, 40)))
    assert alpha_req(power_law(400, 40, alpha=1.0) @ turn.T) == pytest.approx(1.0, abs=1e-2)


def test_alpha_with_few_images() -> None:
    assert alpha_req(power_law(20, 12, alpha=1.0)) == pytest.approx(1.0, abs=1e-2)
    assert np.isnan(alpha_req(normal(4, 12)))  # two ranks are too few for a fit
    assert np.isnan(alpha_req(constant(100, 64)))


def test_cka_is_invariant_to_rotation_scale_and_shift() -> None:
    features = normal(100, 16)
    turn, _ = np.linalg.qr(normal(16, 16, seed=5).astype(np.float64))
    assert linear_cka(features, 3 * (features @ turn) + 2) == pytest.approx(1)


def test_cka_equals_the_kernel_form() -> None:
    a, b = normal(30, 8).astype(np.float64), normal(30, 5, seed=1).astype(np.float64)
    b[:, :3] += a[:, :3]
    middle = np.eye(30) - 1 / 30
    kernel_a, kernel_b = middle @ a @ a.T @ middle, middle @ b @ b.T @ middle
    slow = np.sum(kernel_a * kernel_b) / np.linalg.norm(kernel_a) / np.linalg.norm(kernel_b)
    assert linear_cka(a, b) == pytest.approx(slow)
    assert 0.1 < slow < 0.9


def test_cka_of_unrelated_features_is_small_and_of_constant_ones_zero() -> None:
    assert linear_cka(normal(3000, 8), normal(3000, 8, seed=1)) < 0.01
    assert linear_cka(normal(50, 8), constant(50, 8)) == 0


def slow_retrieval(clean: Features, augmented: Features) -> tuple[list[bool], list[float]]:
    """Compute the ranks by sorting each gallery; no ties."""
    hits, ranks = [], []
    for i, query in enumerate(augmented):
        similarity = [float(query @ row / np.linalg.norm(query) / np.linalg.norm(row)) for row in clean]
        rank = 1 + sorted(range(len(clean)), key=lambda j: -similarity[j]).index(i)
        hits.append(rank == 1)
        ranks.append(1 / rank)
    return hits, ranks


def test_retrieval_equals_the_slow_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = normal(60, 8)
    augmented = clean + 1.5 * normal(60, 8, seed=1)
    hits, ranks = slow_retrieval(clean, augmented)
    assert 5 < sum(hits) < 55
    for values in (1, 7 * 60, 1 << 24):  # blocks of one row, of an odd number of rows, of all rows
        monkeypatch.setattr(cosine, "_BLOCK_VALUES", values)
        found = augmentation_retrieval(clean, augmented)
        assert found.hit_N.tolist() == hits
        np.testing.assert_allclose(found.reciprocal_rank_N, ranks)


def test_retrieval_of_a_collapsed_network_is_at_chance() -> None:
    # with argmax (the first of equal values) or >= (each tie is a hit), a collapsed network would win
    point = constant(100, 32)
    clean, augmented = point + 1e-6 * normal(100, 32, seed=1), point + 1e-6 * normal(100, 32, seed=2)
    assert len(np.unique(clean, axis=0)) == 100  # rounding errors of a network, not copies
    found = augmentation_retrieval(clean, augmented)
    assert not found.hit_N.any()
    np.testing.assert_allclose(found.reciprocal_rank_N, np.sum(1 / np.arange(1, 101)) / 100)
    zeros = np.zeros((100, 32), dtype=np.float32)
    np.testing.assert_allclose(augmentation_retrieval(zeros, zeros).reciprocal_rank_N.mean(), 0.0519, atol=1e-4)


def test_retrieval_shares_the_ranks_of_two_copies() -> None:
    clean = normal(10, 16)
    clean[1] = clean[0]
    found = augmentation_retrieval(clean, clean)
    assert found.hit_N.tolist() == [False, False] + [True] * 8
    np.testing.assert_allclose(found.reciprocal_rank_N, [0.75, 0.75] + [1.0] * 8)  # (1 + 1/2) / 2


def test_retrieval_refuses_different_images() -> None:
    with pytest.raises(ValueError, match=r"\(10, 4\).*\(9, 4\)"):
        augmentation_retrieval(normal(10, 4), normal(9, 4))
