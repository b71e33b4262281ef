import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.errors import DataError, UsageError
from dinocli.tasks.segment.anomaly import PLACES, Anomaly, corrected, outlined, typical_places
from dinocli.tasks.segment.method import FeatureGrid

DEFECT = (slice(6, 9), slice(4, 8))


def _surface(rng: np.random.Generator, *, defect: bool = False) -> NDArray[np.float32]:
    values = rng.normal(size=(20, 24, 16)).astype(np.float32)
    if defect:
        values[DEFECT] += 6
    return values


def _folder(count: int, bad: int) -> list[FeatureGrid]:
    rng = np.random.default_rng(0)
    return [FeatureGrid(_surface(rng, defect=image < bad), image) for image in range(count)]


@pytest.mark.parametrize("bad", [1, 3])
def test_a_defect_is_found_although_the_folder_holds_it(bad: int) -> None:
    grids = _folder(10, bad)
    fitted = Anomaly().fit(grids)
    for image, grid in enumerate(grids):
        maps = fitted.apply(grid)
        assert bool(maps.empty_reason) == (image >= bad), maps.metrics
        truth = np.zeros((20, 24), bool)
        truth[DEFECT] = image < bad
        assert (truth & (maps.labels() > 0)).sum() >= 0.8 * (truth | (maps.labels() > 0)).sum()


def test_good_images_can_be_named() -> None:
    rng = np.random.default_rng(5)
    reference = [FeatureGrid(_surface(rng), -1 - image) for image in range(6)]
    fitted = Anomaly(reference=True).fit(reference)
    for grid in _folder(3, bad=3):
        assert (fitted.apply(grid).labels()[DEFECT] == 1).all()


def test_chance_is_nothing() -> None:
    fitted = Anomaly().fit(_folder(10, bad=0))
    rng = np.random.default_rng(9)
    empty_reason = [bool(fitted.apply(FeatureGrid(_surface(rng), 100 + number)).empty_reason) for number in range(40)]
    assert np.mean(empty_reason) >= 0.9


def test_another_lighting_is_no_defect() -> None:
    grids = _folder(10, bad=0)
    fitted = Anomaly().fit(grids)
    lit = FeatureGrid(grids[0].values_hwD + np.float32(3), 0)
    assert fitted.apply(lit).empty_reason


def test_the_line_is_a_half_in_what_stands_out() -> None:
    grids = _folder(10, bad=1)
    fitted = Anomaly().fit(grids)
    maps = fitted.apply(grids[0])
    raw = fitted.bank.nearest(grids[0].values_hwD.reshape(-1, 16), 0)
    far = corrected(raw.reshape(20, 24), fitted.place_PP)
    assert np.array_equal(maps.saliency() > 0.5, far > fitted.line(far.size))
    assert fitted.line(8000) > fitted.line(100), "more patches, more chances"


def test_a_place_that_is_always_odd_is_not_odd() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.random((20, 24)).astype(np.float32) for _ in range(9)]
    for map_hw in maps:
        map_hw[:, 12:] += 5
    maps[0][2:5, 2:5] += 5
    place = typical_places(maps)
    assert place.shape == (PLACES, PLACES)
    left, right = np.median(corrected(maps[1], place)[:, :10]), np.median(corrected(maps[1], place)[:, 14:])
    assert abs(left - right) < 0.2
    assert corrected(maps[0], place)[3, 3] > 4
    assert not typical_places(maps[:7]).any(), "a median of few images is not to be trusted"


def test_an_outline_is_at_half_the_height_of_its_own_peak() -> None:
    far = np.zeros((1, 15), np.float32)
    far[0, 1:6] = [1.2, 3, 10, 6, 1.5]  # a high peak and its halo
    far[0, 8:11] = [1.5, 3, 1.4]  # a low one
    far[0, 13] = 1.9  # half of the line, but no peak above it
    soft = outlined(far, 2.0)
    assert np.nonzero(soft[0] > 0.5)[0].tolist() == [3, 4, 9]
    assert soft.min() >= 0
    assert soft.max() <= 1


def test_one_image_has_nothing_to_be_compared_with() -> None:
    with pytest.raises(DataError, match="one image has no others"):
        Anomaly().fit(_folder(1, 0))


def test_a_threshold_from_good_images_flags_few_of_them() -> None:
    rng = np.random.default_rng(7)
    good = [FeatureGrid(_surface(rng), -1 - image) for image in range(12)]
    fitted = Anomaly(reference=True).fit(good)
    assert fitted.parameters["threshold_rule"] == "maxima of good images"
    flagged = [not fitted.apply(grid).empty_reason for grid in good]
    assert sum(flagged) == 2  # 0.9 of 12 leaves the two highest
    assert not fitted.apply(_folder(1, bad=1)[0]).empty_reason


def test_a_lower_threshold_finds_more_and_the_soft_map_stays() -> None:
    grids = _folder(10, bad=1)
    usual, low = (Anomaly(threshold=text).fit(grids).apply(grids[0]) for text in ("auto", "0.02"))
    assert np.array_equal(usual.saliency(), low.saliency())
    assert np.array_equal(low.labels() > 0, low.saliency() > 0.02)
    assert (low.labels() > 0).sum() > (usual.labels() > 0).sum()


@pytest.mark.parametrize(("text", "flagged"), [("quantile:0.5", 5), ("quantile:1", 0)])
def test_a_quantile_of_the_images_is_flagged(text: str, flagged: int) -> None:
    grids = _folder(10, bad=0)
    fitted = Anomaly(threshold=text).fit(grids)
    assert sum(not fitted.apply(grid).empty_reason for grid in grids) == flagged


@pytest.mark.parametrize("text", ["high", "1.5", "0", "quantile:", "quantile:2"])
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--threshold"):
        Anomaly(threshold=text)
