import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.multiview_scores import alignment, lidar
from dinocli.quality.scores import rankme

Features = NDArray[np.float64]


def normal(*shape: int, seed: int = 0) -> Features:
    return np.random.default_rng(seed).standard_normal(shape)


def test_alignment_hand_values() -> None:
    axes = np.eye(3, dtype=np.float32)
    assert alignment(axes, 5 * axes) == pytest.approx(0)
    assert alignment(axes, -axes) == pytest.approx(4)
    assert alignment(axes, np.roll(axes, 1, axis=0)) == pytest.approx(2)
    with pytest.raises(ValueError, match=r"\(3, 3\).*\(2, 3\)"):
        alignment(axes, axes[:2])


def test_lidar_counts_directions_that_tell_images_apart() -> None:
    # 5 directions of images; views add noise of the same size in 20 others
    images = normal(2000, 5) @ np.eye(5, 25)
    noise = normal(8, 2000, 20, seed=1) @ np.eye(20, 25, 5)
    found = lidar(images + noise)
    assert found == pytest.approx(5, abs=0.3)
    assert rankme((images + noise)[0]) > 20  # RankMe does not separate images from noise


def test_lidar_ignores_scale_and_rotation() -> None:
    views = normal(1, 100, 8) + 0.5 * normal(4, 100, 8, seed=1)
    turn, _ = np.linalg.qr(normal(8, 8, seed=2))
    assert lidar(1000 * views @ turn + 3) == pytest.approx(lidar(views))


def test_lidar_equals_the_definition() -> None:
    views = normal(1, 60, 4) * [3, 1, 1, 0.2] + 0.5 * normal(3, 60, 4, seed=1)
    centres = views.mean(axis=0)
    between = sum(np.outer(c, c) for c in centres - centres.mean(axis=0)) / 59
    within = sum(np.outer(v, v) for v in (views - centres).reshape(-1, 4)) / 180
    within = within + 1e-4 * np.trace(between) / 4 * np.eye(4)
    share = np.linalg.eigvals(np.linalg.solve(within, between)).real  # similar to the symmetric form
    share = share / share.sum()
    assert lidar(views) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_lidar_of_one_point_is_zero() -> None:
    point = np.tile(normal(16), (3, 50, 1))
    assert lidar(point.astype(np.float32)) == 0
    assert lidar((point + 1e-8 * normal(3, 50, 16)).astype(np.float32)) == 0
    with pytest.raises(ValueError, match="two views"):
        lidar(normal(1, 50, 16))
