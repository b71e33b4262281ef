"""Thresholds and outlines of anomaly masks, tried on stored distances: a rule takes a second a set.

    python benchmarks/mask_rules.py NAME=FOLDER [NAME=FOLDER ...] --weights PATH --model NAME --maps DIR

FOLDER as in `masks.py`. Distances of the test images, of the references in folds (R; N: no references) and of synthetic
defects are stored once in --maps. A rule of --rules is the statistic that detects, and the outlines in use:

    segment    what `segment` chooses by synthetic defects: maximum, or area+fine without references
    maximum    the furthest patch
    area       the largest height after threshold-free cluster enhancement (Smith and Nichols 2009,
               doi:10.1016/j.neuroimage.2008.03.061): the cube root of 3 times the integral, over the heights up to
               that of a patch, of squared height times the area of the region around it that is higher
    either     both, each with half of the false-positive rate
    +fine      outlined by fine distances only, without coarse outlines and regions of large defects
    +half      the median of an image is subtracted by half

Legend: F kinds of features, S images, K folds, h w rows and columns of the grid.
"""

import argparse
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import masks
import numpy as np
from numpy.typing import NDArray

import dinocli.segmentation.anomaly_threshold as thresholds
from dinocli.data.image_list import ImageList
from dinocli.data.sources import find_images
from dinocli.segmentation.anomaly import FOLDS, Anomaly, nearest_map, smoothed
from dinocli.segmentation.anomaly import centre as centre_of
from dinocli.segmentation.cluster_enhancement import cluster_enhanced
from dinocli.segmentation.distance_scale import coarse_weight, weighted_sum
from dinocli.segmentation.feature_choice import ENOUGH, MIN_GAIN, drawn_in_turn
from dinocli.segmentation.ground_truth import GroundTruth
from dinocli.segmentation.method import FeatureGrid
from dinocli.segmentation.peak_outlines import outlined
from dinocli.segmentation.position_maps import resampled, typical_places
from dinocli.segmentation.segment_images import SegmentImage
from dinocli.segmentation.sensitivity import TRIED_IMAGES

KINDS = ("fine", "coarse")
RULES = ("segment", "maximum", "maximum+half", "maximum+fine", "area", "area+fine", "either+fine")
Maps = NDArray[np.float32]


def main() -> None:
    """Parse, measure missing distances, print the table."""
    parser = masks.parser_of_sets(__doc__)
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--rules", nargs="+", default=RULES)
    asked = parser.parse_args()
    asked.maps.mkdir(parents=True, exist_ok=True)
    for name, _, folder in (text.partition("=") for text in asked.sets):
        for mode in ("N", "R") if (Path(folder) / "reference").is_dir() else ("N",):
            file = asked.maps / f"{name}_{mode}_480.pkl"
            if not file.is_file():
                file.write_bytes(pickle.dumps(measured(asked, Path(folder), reference=mode == "R")))
            data = pickle.loads(file.read_bytes())  # written by this script
            for rule in asked.rules:
                print(f"{name} {mode} {rule:13} {row(*chosen(data, rule))}", flush=True)


def measured(asked: argparse.Namespace, folder: Path, *, reference: bool) -> dict[str, Any]:
    """Return the distances of a set, of each kind of features, as plain data."""
    images = find_images([str(folder / "test")])
    extractors = {kind: masks.extractor_of(asked, folder / "test", kind) for kind in KINDS}

    def pictures(names: ImageList, *, good: bool) -> list[tuple[SegmentImage, dict[str, FeatureGrid]]]:
        read = extractors["fine"].reader.read_images(names, list(range(len(names))), 1)
        kept = [one for one in read if isinstance(one, SegmentImage)]
        kept = [replace(one, image=-1 - one.image) for one in kept] if good else kept
        return [(one, {kind: extractor.grid(one) for kind, extractor in extractors.items()}) for one in kept]

    test = pictures(images, good=False)
    sample = pictures(find_images([str(folder / "reference")]), good=True) if reference else test
    rows = np.random.default_rng(0).permutation(len(sample))[: 2 * TRIED_IMAGES].tolist()
    first, more = drawn_in_turn([sample[row][0] for row in rows], seed=0)
    defective = [*first, *more()]
    truth = GroundTruth(str(folder / "truth"), images)
    data: dict[str, Any] = {
        "mode": "R" if reference else "N",
        "geometry": [one.geometry for one, _ in test],
        "truth": [truth.read(images.names[one.image], one.geometry.source) for one, _ in test],
        "synthetic": [(sample[row][0].image, one.defects) for row, one in zip(rows, defective, strict=True)],
        "kinds": {},
    }
    for kind in KINDS:
        grids = [grid[kind] for _, grid in sample]
        bank = Anomaly(reference=reference, features=kind)._bank(grids)
        fold_S = np.random.default_rng(0).permutation(len(grids)) % FOLDS
        fold_of = {grid.image: fold for grid, fold in zip(grids, fold_S.tolist(), strict=True)}

        def near(grid: FeatureGrid, fold: int | None = None) -> Maps:
            keep = [fold is None or fold_of[image] == fold for image in bank.image_M.tolist()]  # noqa: B023
            part = replace(bank, features_MD=bank.features_MD[keep], image_M=bank.image_M[keep])  # noqa: B023
            return nearest_map(part, grid.values_hwD - centre_of(grid), grid.image)

        own: dict[str, Any] = {"test": [smoothed(near(grid[kind]), grid[kind]) for _, grid in test]}
        made = [extractors[kind].grid(one.picture) for one in defective]
        own["syn"] = [smoothed(near(grid), grid) for grid in made]
        if reference:
            own["near"] = [np.stack([near(grid, fold) for fold in range(FOLDS)]) for grid in grids]
            own |= {"fold": fold_S, "grids": [replace(grid, values_hwD=grid.values_hwD[..., :1]) for grid in grids]}
        data["kinds"][kind] = own
    return data


class Fitted:
    """The anomaly method with another rule, on stored distances; as `DistanceScale` otherwise.

    Args:
        data: Result of `measured`.
        kinds: Kinds of features.
        rule: Name of the rule.
    """

    def __init__(self, data: dict[str, Any], kinds: Sequence[str], rule: str) -> None:
        self.statistic, *more = rule.split("+")
        self.fine_only, self.share = "fine" in more, 0.5 if "half" in more else 1.0
        self.good, own = data["mode"] == "R", [data["kinds"][kind] for kind in kinds]
        self.test = [np.stack(maps) for maps in zip(*(one["test"] for one in own), strict=True)]
        self.synthetic = [np.stack(maps) for maps in zip(*(one["syn"] for one in own), strict=True)]
        sample, judged = self.test, None
        if self.good:
            parts = [self._folds(one) for one in own]
            sample = [np.stack(maps) for maps in zip(*(part[0] for part in parts), strict=True)]
            judged = [np.stack(maps) for maps in zip(*(part[1] for part in parts), strict=True)]
        self.places = [self._places(maps) for maps in zip(*sample, strict=True)]
        far = [self.far(maps_Fhw) for maps_Fhw in sample] if judged is None else judged
        line = thresholds.good_line if self.good else thresholds.mixed_line
        maxima_FS = np.stack([maps_Fhw.max(axis=(1, 2)) for maps_Fhw in far], axis=1)
        self.weight = coarse_weight(maxima_FS)
        self.lines = self._lines([weighted_sum(maps_Fhw, self.weight) for maps_Fhw in far])
        self.lines_F = [line(maxima_S) for maxima_S in maxima_FS]

    def _folds(self, own: dict[str, Any]) -> tuple[list[Maps], list[Maps]]:
        """Return the distances of the references, and their corrected ones by the other folds, of one kind."""
        pairs, fold_S = list(zip(own["near"], own["grids"], strict=True)), own["fold"]
        judged: dict[int, Maps] = {}
        for fold in range(FOLDS):
            others = [smoothed(np.delete(near_Khw, fold, 0).min(axis=0), grid) for near_Khw, grid in pairs]
            places = self._places([others[row] for row in np.flatnonzero(fold_S != fold)])
            judged |= {row: self._far(others[row], places) for row in np.flatnonzero(fold_S == fold).tolist()}
        measured_S = [smoothed(near_Khw.min(axis=0), grid) for near_Khw, grid in pairs]
        return measured_S, [judged[row] for row in range(len(pairs))]

    def _places(self, maps: Sequence[Maps]) -> tuple[Maps, Maps, float]:
        place_PP, spread_PP = typical_places(maps)
        level = np.median([np.median(map_hw - resampled(place_PP, map_hw.shape)) for map_hw in maps])
        return place_PP, spread_PP, float(level)

    def _far(self, map_hw: Maps, places: tuple[Maps, Maps, float]) -> Maps:
        place_PP, spread_PP, usual = places
        without = map_hw - resampled(place_PP, map_hw.shape)
        level = self.share * np.median(without) + (1 - self.share) * usual
        return np.asarray((without - level) / resampled(spread_PP, map_hw.shape), np.float32)

    def far(self, distances_Fhw: Maps) -> Maps:
        """Return the corrected distances of an image, (F, h, w)."""
        return np.stack([self._far(*pair) for pair in zip(distances_Fhw, self.places, strict=True)])

    def _lines(self, maps: Sequence[Maps]) -> list[tuple[Callable[[Maps], Maps], float]]:
        """Return the statistics in use, each with its threshold."""
        all_of: dict[str, list[Callable[[Maps], Maps]]] = {"maximum": [np.asarray], "area": [cluster_enhanced]}
        used = all_of.get(self.statistic, [np.asarray, cluster_enhanced])
        name, line = ("GOOD", thresholds.good_line) if self.good else ("MIXED", thresholds.mixed_line)
        rate = getattr(thresholds, f"{name}_FALSE_RATE")
        setattr(thresholds, f"{name}_FALSE_RATE", rate / len(used))
        maxima = [np.array([one(map_hw).max() for map_hw in maps], np.float32) for one in used]
        lines = [(one, line(maxima_S)) for one, maxima_S in zip(used, maxima, strict=True)]
        setattr(thresholds, f"{name}_FALSE_RATE", rate)
        return lines

    def soft(self, distances_Fhw: Maps) -> Maps:
        """Return the soft map (h, w), above 0.5 in the mask."""
        far_Fhw = self.far(distances_Fhw)
        height_hw = of_lines(weighted_sum(far_Fhw, self.weight), self.lines)
        if self.fine_only:
            return outlined(height_hw, 1, far_Fhw[:1], [-np.inf])
        return outlined(height_hw, 1, far_Fhw, self.lines_F)


def of_lines(far_hw: Maps, lines: list[tuple[Callable[[Maps], Maps], float]]) -> Maps:
    """Return the larger of the statistics, each in units of its threshold."""
    return np.asarray(np.max([statistic(far_hw) / line for statistic, line in lines], axis=0), np.float32)


def detected(fitted: Fitted, data: dict[str, Any]) -> tuple[int, int]:
    """Return the number of synthetic defects with a patch above the threshold that was not before, and of all."""
    found = drawn = 0
    for maps_Fhw, (image, defects) in zip(fitted.synthetic, data["synthetic"], strict=True):
        above = of_lines(weighted_sum(fitted.far(maps_Fhw), fitted.weight), fitted.lines) > 1
        if image >= 0:
            above &= of_lines(weighted_sum(fitted.far(fitted.test[image]), fitted.weight), fitted.lines) <= 1
        found, drawn = found + sum(bool(above[cells_hw].any()) for cells_hw in defects), drawn + len(defects)
    return found, drawn


def chosen(data: dict[str, Any], rule: str) -> tuple[Fitted, dict[str, Any], str]:
    """Return what `segment` would choose if it knew this rule alone, or all of its own, and what each detects."""
    own = ("maximum", "area+fine") if data["mode"] == "N" else ("maximum",)
    best, most, notes = None, 0, []
    for kinds in (KINDS if data["mode"] == "R" else KINDS[:1], KINDS[1:]):
        for one in own if rule == "segment" else (rule,):
            fitted = Fitted(data, kinds, one)
            found, drawn = detected(fitted, data)
            notes.append(f"{'+'.join(kinds)} {one} {found} of {drawn}")
            if best is None or found >= most + MIN_GAIN * drawn:
                best, most = fitted, found
            if most >= ENOUGH * drawn:
                return best, data, ", ".join(notes)
    assert best is not None
    return best, data, ", ".join(notes)


def row(fitted: Fitted, data: dict[str, Any], note: str) -> str:
    """Return the scores of all test images, as a line."""
    both, either, dice, marked, good = 0, 0, [], 0, []
    for maps_Fhw, geometry, truth in zip(fitted.test, data["geometry"], data["truth"], strict=True):
        mask_HW = geometry.upsampled(fitted.soft(maps_Fhw)[None], slice(0, geometry.source[0]))[0] > 0.5
        truth_HW = np.asarray(truth) > 0
        overlap, total = int((mask_HW & truth_HW).sum()), int(mask_HW.sum() + truth_HW.sum())
        both, either = both + overlap, either + total
        if not truth_HW.any():
            good.append(bool(mask_HW.any()))
            continue
        dice.append(2 * overlap / total)
        marked += bool(mask_HW.any())
    counts = f"found {marked} of {len(dice)}, flagged {sum(good)} of {len(good)}"
    return f"Dice {2 * both / max(either, 1):.3f}, mean {np.mean(dice):.3f}, {counts}; synthetic {note}"


if __name__ == "__main__":
    main()
