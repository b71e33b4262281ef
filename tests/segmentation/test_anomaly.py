from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dinocli.errors import DataError, UsageError
from dinocli.segmentation.anomaly import COARSE_SMOOTHING, Anomaly, distances
from dinocli.segmentation.anomaly_threshold import good_line, mixed_line
from dinocli.segmentation.distance_scale import COARSE_WEIGHT, DistanceScale, coarse_weight
from dinocli.segmentation.method import FeatureGrid, FeatureKind
from dinocli.segmentation.peak_outlines import outlined
from dinocli.segmentation.position_maps import PLACES, corrected, corrected_kinds, typical_places

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


def test_images_of_noise_alone_are_rarely_flagged() -> None:
    fitted = Anomaly().fit(_folder(10, bad=0))
    rng = np.random.default_rng(9)
    empty_reason = [bool(fitted.apply(FeatureGrid(_surface(rng), 100 + number)).empty_reason) for number in range(40)]
    assert np.mean(empty_reason) >= 0.9


def test_another_lighting_is_no_defect() -> None:
    grids = _folder(10, bad=0)
    fitted = Anomaly().fit(grids)
    lit = FeatureGrid(grids[0].values_hwD + np.float32(3), 0)
    assert fitted.apply(lit).empty_reason


def test_light_that_is_different_in_every_image_hides_no_defect() -> None:
    rng = np.random.default_rng(3)
    grids = _folder(10, bad=1)
    lit = [FeatureGrid(grid.values_hwD + rng.normal(0, 8, 16).astype(np.float32), grid.image) for grid in grids]
    empty_reason = [bool(Anomaly().fit(lit).apply(grid).empty_reason) for grid in lit]
    assert empty_reason == [False] + 9 * [True]


def test_the_line_is_a_half_in_what_stands_out() -> None:
    grids = _folder(10, bad=1)
    fitted = Anomaly().fit(grids)
    maps = fitted.apply(grids[0])
    (far,) = corrected_kinds(distances(fitted.banks, grids[0]), fitted.scale.place_FPP, fitted.scale.spread_FPP)
    assert np.array_equal(maps.saliency() > 0.5, far > fitted.scale.line(far.size, fitted.threshold))
    few, many = (fitted.scale.line(patches, fitted.threshold) for patches in (100, 8000))
    assert many > few, "more patches, more chances"


def test_a_place_that_is_always_odd_is_not_odd() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.random((20, 24)).astype(np.float32) for _ in range(9)]
    for map_hw in maps:
        map_hw[:, 12:] += 5
    maps[0][2:5, 2:5] += 5
    places = typical_places(maps)
    assert places.place_PP.shape == places.spread_PP.shape == (PLACES, PLACES)
    usual = corrected(maps[1], *places)
    assert abs(np.median(usual[:, :10]) - np.median(usual[:, 14:])) < 0.2
    assert corrected(maps[0], *places)[3, 3] > 4
    few = typical_places(maps[:7])
    assert not few.place_PP.any(), "a median of few images is not to be trusted"
    assert (few.spread_PP == 1).all()


def test_a_place_that_varies_counts_less_and_rare_defects_there_do_not_change_that() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.normal(10, 1, (48, 48)).astype(np.float32) for _ in range(40)]
    for map_hw in maps:
        map_hw[:, 36:] = rng.normal(10, 4, (48, 12))
    for map_hw in maps[:12]:
        map_hw[4:10, 4:10] += 20
    spread_PP = typical_places(maps).spread_PP
    assert np.median(spread_PP[:, 40:]) == pytest.approx(4, rel=0.2)
    assert spread_PP[6, 6] < 2
    usual = np.concatenate([corrected(map_hw, *typical_places(maps))[:, 40:].ravel() for map_hw in maps])
    assert usual.std() == pytest.approx(1, rel=0.15)


def test_an_outline_is_at_half_the_height_of_its_own_peak() -> None:
    far = np.zeros((1, 15), np.float32)
    far[0, 1:6] = [1.2, 3, 10, 6, 1.5]  # a high peak and its halo
    far[0, 8:11] = [1.5, 3, 1.4]  # a low one
    far[0, 13] = 1.9  # half of the line, but no peak above it
    soft = outlined(far, 2.0, far[None], [2.0])
    assert np.nonzero(soft[0] > 0.5)[0].tolist() == [3, 4, 9]
    assert soft.min() >= 0
    assert soft.max() <= 1


def test_each_peak_of_an_extended_defect_has_its_own_outline() -> None:
    far = np.zeros((1, 24), np.float32)
    far[0, 2:17] = [2, 5, 10, 5.5, 4.5, 3, 3.5, 5.5, 8, 5, 3, 2.5, 2.2, 1.9, 1.5]  # two peaks and a ramp
    marked = np.nonzero(outlined(far, 2.0, far[None], [2.0])[0] > 0.5)[0].tolist()
    assert marked == [4, 5, 9, 10, 11], "the ramp is lower than half of the least peak, which is 0.6 of the highest"
    faint = np.where(far > 0, 1.0, 0.0).astype(np.float32)
    faint[0, 4] = 2.1
    assert np.nonzero(outlined(faint, 2.0, faint[None], [2.0])[0] > 0.5)[0].tolist() == [4]


def test_a_peak_of_the_sum_is_outlined_by_the_fine_distances() -> None:
    fine = np.zeros((1, 15), np.float32)
    fine[0, 5:9] = [0.4, 1.2, 0.9, 0.5]  # below the threshold alone
    fine[0, 13] = 1.2
    coarse = np.zeros((1, 15), np.float32)
    coarse[0, 2:12] = 1.5
    assert not (outlined(fine, 2.0, fine[None], [2.0]) > 0.5).any()
    both = np.stack([fine, coarse])
    assert np.nonzero(outlined(fine + coarse, 2.0, both, [2.0, 2.0])[0] > 0.5)[0].tolist() == [6, 7]
    assert np.nonzero(outlined(fine + coarse, 2.0, both, [1.0, 1.4])[0] > 0.5)[0].tolist() == [6, 7]
    alone = np.nonzero(outlined(fine + coarse, 2.0, both, [2.0, 1.4])[0] > 0.5)[0].tolist()
    assert alone == [5, 6, 7, 8], "what coarse distances alone detect: where the sum is above 0.8 of the threshold"


@pytest.mark.parametrize(
    ("radius", "height", "large"),
    [
        (15, 2.2, True),
        (3, 2.2, False),  # a point
        (15, 3.0, False),  # as clear in the fine distances
    ],
)
def test_a_large_faint_defect_is_outlined_by_the_coarse_distances_too(radius: int, height: float, large: bool) -> None:
    row, column = np.mgrid[:60, :60]
    from_centre = np.hypot(row - 30, column - 30)
    coarse = gaussian_filter(np.where(from_centre < radius, 2, 0).astype(np.float32), COARSE_SMOOTHING)
    coarse *= 2 / coarse.max()
    fine = np.where(np.hypot(row - 30, column - 33) < 2, height, 0).astype(np.float32)  # a part of it
    both, line = np.stack([fine, coarse]), 2.0
    marked = outlined(fine + coarse / 3, line, both, [line, 1.0]) > 0.5
    assert marked[fine > 0].all()
    assert marked[(coarse > 1.01) & (fine == 0)].mean() == large
    assert not marked[(coarse < 0.95) & (fine == 0)].any()
    below = outlined(fine + coarse / 3, line, both, [line, 2.5]) > 0.5
    assert np.array_equal(below, fine > 0), "coarse distances alone do not detect it"


@pytest.mark.parametrize("reference", [False, True])
def test_a_large_faint_defect_is_found_by_coarse_features(reference: bool) -> None:
    rng = np.random.default_rng(4)

    def image(number: int, *, defect: bool = False) -> FeatureGrid:
        coarse = rng.normal(size=(6, 8, 8)).astype(np.float32)
        if defect:
            coarse[1:4, 2:5] += 9
        return FeatureGrid(coarse, number, fine_size=(20, 24))

    bad = image(40, defect=True)
    sample = [image(-1 - number if reference else number) for number in range(20)] + ([] if reference else [bad])
    method = Anomaly(reference=reference, features="coarse")
    fitted = method.fit(sample)
    assert fitted.feature_kind == method.feature_kind == FeatureKind.COARSE
    maps = fitted.apply(bad)
    assert maps.distances_Fhw is not None
    assert maps.distances_Fhw.shape == (1, 20, 24)
    assert maps.labels()[5:12, 8:13].all()
    assert maps.score > 0.5
    assert fitted.apply(image(50)).empty_reason


def test_the_sum_of_fine_and_coarse_distances_finds_more_defects_than_either() -> None:
    rng = np.random.default_rng(4)

    def image(number: int, *, defect: bool = False) -> FeatureGrid:
        fine = rng.normal(size=(20, 24, 16)).astype(np.float32)
        coarse = rng.normal(size=(6, 8, 8)).astype(np.float32)
        if defect:
            fine[DEFECT] += 0.8
            coarse[1:3, 1:3] += 2
        return FeatureGrid(fine, number, coarse=FeatureGrid(coarse, number, fine_size=(20, 24)))

    good = [image(-1 - number) for number in range(20)]
    new = [image(number, defect=number < 20) for number in range(40)]
    parts: dict[str, Callable[[FeatureGrid], FeatureGrid]] = {
        "fine": lambda grid: replace(grid, coarse=None),
        "coarse": lambda grid: grid.coarse or grid,
        "both": lambda grid: grid,
    }
    found = {}
    for name, part in parts.items():
        fitted = Anomaly(reference=True).fit([part(grid) for grid in good])
        assert fitted.features == name
        flagged = [not fitted.apply(part(grid)).empty_reason for grid in new]
        assert sum(flagged[20:]) <= 2
        found[name] = sum(flagged[:20])
    assert found["both"] >= max(found["fine"], found["coarse"]) + 3, found


def test_coarse_distances_weigh_a_third_of_the_fine_ones() -> None:
    rng = np.random.default_rng(0)
    maps = [(rng.random((2, 20, 24)) * np.array([1, 10])[:, None, None]).astype(np.float32) for _ in range(20)]
    scale = DistanceScale.of(maps, good=True)
    fine, coarse = np.median(
        [corrected_kinds(each, scale.place_FPP, scale.spread_FPP).max(axis=(1, 2)) for each in maps], axis=0
    )
    assert coarse > 5 * fine
    assert coarse_weight(scale.maxima_FS) * coarse == pytest.approx(COARSE_WEIGHT * fine)
    assert np.array_equal(DistanceScale.of([each[:1] for each in maps], good=True).maxima_S, scale.maxima_FS[0])


def test_one_image_has_nothing_to_be_compared_with() -> None:
    with pytest.raises(DataError, match="one image has no others"):
        Anomaly().fit(_folder(1, 0))


def test_a_threshold_from_good_images_flags_few_of_them() -> None:
    rng = np.random.default_rng(7)
    good = [FeatureGrid(_surface(rng), -1 - image) for image in range(12)]
    fitted = Anomaly(reference=True).fit(good)
    assert fitted.parameters["threshold_rule"] == "held-out maxima of good images"
    assert sum(not fitted.apply(FeatureGrid(_surface(rng), image)).empty_reason for image in range(40)) <= 4
    assert not fitted.apply(_folder(1, bad=1)[0]).empty_reason


def test_good_images_that_set_the_threshold_are_measured_as_new_ones_will_be() -> None:
    rng = np.random.default_rng(2)
    harder_hw1 = np.zeros((20, 24, 1), np.float32) + 1
    harder_hw1[5:15, 5:15] = 3  # a part that varies: places learn its spread
    values = [_surface(rng) * harder_hw1 for _ in range(52)]
    reference = [FeatureGrid(value, -1 - image) for image, value in enumerate(values[:12])]
    fitted = Anomaly(reference=True).fit(reference)
    scale, banks = fitted.scale, fitted.banks
    seen = [corrected_kinds(distances(banks, grid), scale.place_FPP, scale.spread_FPP).max() for grid in reference]
    new = [fitted.apply(FeatureGrid(value, image)).metrics["furthest"] for image, value in enumerate(values[12:])]
    line = scale.line(20 * 24, fitted.threshold)
    held_out, fresh = np.median(scale.maxima_S), np.median(new) * line
    assert abs(held_out - fresh) < abs(np.median(seen) - fresh), "its own places make it look better than new ones"


def test_good_images_that_are_all_the_same_say_what_is_not() -> None:
    blank = np.ones((20, 24, 16), np.float32)
    fitted = Anomaly(reference=True).fit([FeatureGrid(blank, -1 - image) for image in range(12)])
    spot = blank.copy()
    spot[DEFECT] += 3
    assert (fitted.apply(FeatureGrid(spot, 0)).labels()[DEFECT] == 1).all()
    assert fitted.apply(FeatureGrid(blank, 1)).empty_reason


@pytest.mark.parametrize("count", [10, 20])
def test_equal_images_differ_by_rounding_only(count: int) -> None:
    surface = _surface(np.random.default_rng(0))[:8, :8]
    fitted = Anomaly().fit([FeatureGrid(surface.copy(), image) for image in range(count)])
    for image in range(count):
        maps = fitted.apply(FeatureGrid(surface.copy(), image))
        assert maps.empty_reason
        assert np.isfinite(maps.score)
    spot = surface.copy()
    spot[2:4, 2:4] += 3
    assert fitted.apply(FeatureGrid(spot, count)).labels()[2:4, 2:4].any()


@pytest.mark.parametrize("bad", [0, 150])
def test_the_line_leaves_good_maxima_below_also_where_some_images_are_bad(bad: int) -> None:
    rng = np.random.default_rng(0)
    good = rng.gumbel(10, 2, 400)
    line = mixed_line(np.concatenate([good, rng.gumbel(40, 5, bad)]).astype(np.float32))
    assert 0.005 <= (good > line).mean() <= 0.05
    assert line < 30


def test_the_line_of_good_images_is_exceeded_by_one_in_twenty() -> None:
    rng = np.random.default_rng(1)
    lines = [good_line(rng.gumbel(10, 2, 16).astype(np.float32)) for _ in range(300)]
    flagged = [1 - np.exp(-np.exp(-(line - 10) / 2)) for line in lines]
    assert 0.05 <= np.mean(flagged) <= 0.08, "a little more of few images, for their own chance adds to it"
    assert good_line(rng.gumbel(10, 2, 4000).astype(np.float32)) == pytest.approx(10 - 2 * np.log(-np.log(0.95)), 0.02)


def test_few_images_get_a_more_careful_line() -> None:
    maxima = np.random.default_rng(0).gumbel(10, 2, 4000).astype(np.float32)
    few = np.quantile(maxima, np.linspace(0.02, 0.98, 16)).astype(np.float32)
    assert mixed_line(few) > mixed_line(maxima) + 1


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
def test_invalid_thresholds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--threshold"):
        Anomaly(threshold=text)
