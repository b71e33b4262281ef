from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dinocli.segmentation.anomaly_threshold import AUTO
from dinocli.segmentation.cluster_enhancement import cluster_enhanced
from dinocli.segmentation.distance_scale import DistanceScale


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 4), (3, 9)])
def test_a_region_gains_by_the_cube_root_of_its_area(rows: int, columns: int) -> None:
    far_hw = np.full((12, 16), -1, np.float32)
    far_hw[2 : 2 + rows, 3 : 3 + columns] = 1.7
    enhanced_hw = cluster_enhanced(far_hw)
    assert enhanced_hw.dtype == np.float32
    assert enhanced_hw.max() == pytest.approx(1.7 * np.cbrt(rows * columns), rel=0.002)
    assert np.array_equal(enhanced_hw > 0, far_hw > 0)


def test_only_connected_cells_count_and_corners_connect() -> None:
    apart_hw, joined_hw = np.zeros((2, 9, 9), np.float32)
    apart_hw[[1, 1, 5], [1, 3, 6]] = 1
    joined_hw[[1, 2, 3], [1, 2, 3]] = 1
    assert cluster_enhanced(apart_hw).max() == pytest.approx(1, rel=0.002)
    assert cluster_enhanced(joined_hw).max() == pytest.approx(np.cbrt(3), rel=0.002)


def test_higher_cells_of_a_region_stay_higher() -> None:
    far_hw = np.zeros((8, 8), np.float32)
    far_hw[2:6, 2:6] = 1
    far_hw[3, 3] = 2
    enhanced_hw = cluster_enhanced(far_hw)
    assert enhanced_hw.argmax() == far_hw.argmax()
    assert (enhanced_hw >= far_hw).all()


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_a_map_without_anything_far_is_zero(value: float) -> None:
    assert not cluster_enhanced(np.full((4, 5), value, np.float32)).any()


def test_a_faint_line_is_detected_with_its_own_outline_and_a_good_image_is_not() -> None:
    random = np.random.default_rng(0)

    def distances() -> NDArray[np.float32]:
        return np.asarray(gaussian_filter(random.exponential(size=(1, 30, 30)), (0, 0.7, 0.7)), np.float32)

    plain = DistanceScale.of([distances() for _ in range(40)], good=False)
    enhanced = replace(plain, enhanced=True)
    cracked = distances()
    cracked[0, 12:14, 2:28] += 1.5
    assert plain.judge(cracked, AUTO).empty_reason
    maps = enhanced.judge(cracked, AUTO)
    marked_hw = maps.labels() > 0
    assert marked_hw[12:14, 2:28].mean() > 0.6
    assert marked_hw.sum() < 2 * 52
    assert sum(not enhanced.judge(distances(), AUTO).empty_reason for _ in range(40)) <= 4
    assert plain.judge(cracked, AUTO).score == maps.score
