from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dinocli.data.sources import find_images
from dinocli.models.create import create_backbone
from dinocli.segmentation.anomaly import Anomaly, distances
from dinocli.segmentation.feature_extraction import FeatureExtraction
from dinocli.segmentation.method import FeatureKind
from dinocli.segmentation.segment_images import SegmentImage
from dinocli.segmentation.sensitivity import SCALES, sensitivity, with_synthetic_defects
from tests.segmentation.test_feature_extraction import PLAIN

SIZE = 96


@pytest.fixture(scope="module")
def extractor() -> FeatureExtraction:
    torch.manual_seed(0)
    return FeatureExtraction(create_backbone("resnet10t").eval(), PLAIN, FeatureKind.PATCHES, torch.device("cpu"), SIZE)


@pytest.fixture(scope="module")
def pictures(extractor: FeatureExtraction, tmp_path_factory: pytest.TempPathFactory) -> list[SegmentImage]:
    """Twelve surfaces with stripes, wider than tall."""
    folder, random = tmp_path_factory.mktemp("surfaces"), np.random.default_rng(0)
    for number in range(12):
        stripes = 128 + 16 * np.sin(np.arange(SIZE + 32) / 3)
        pixels = (stripes + random.normal(0, 2, (SIZE, SIZE + 32))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    read = extractor.reader.read_images(find_images([str(folder)]), list(range(12)), 0)
    return [picture for picture in read if isinstance(picture, SegmentImage)]


def test_defects_are_drawn_by_the_seed_into_the_canvas_alone(pictures: list[SegmentImage]) -> None:
    made = with_synthetic_defects(pictures[:4], seed=3)
    again, other = (with_synthetic_defects(pictures[:4], seed) for seed in (3, 4))
    for row, (picture, defects) in enumerate(made):
        assert np.array_equal(picture.canvas_CHW, again[row].picture.canvas_CHW)
        assert not np.array_equal(picture.canvas_CHW, other[row].picture.canvas_CHW)
        assert 0 < len(defects) <= len(SCALES)
        changed_HW = (picture.canvas_CHW != pictures[row].canvas_CHW).any(axis=0)
        touched_HW = np.any(defects, axis=0).repeat(8, axis=0).repeat(8, axis=1)
        assert changed_HW.any()
        assert not changed_HW[~touched_HW].any()
        assert np.array_equal(picture.source_CHW, pictures[row].source_CHW)


def test_sixteen_bits_keep_their_depth(pictures: list[SegmentImage]) -> None:
    deep = [replace(picture, canvas_CHW=picture.canvas_CHW.astype(np.uint16) * 257) for picture in pictures[:3]]
    made = with_synthetic_defects(deep, seed=0)
    assert {one.picture.canvas_CHW.dtype for one in made} == {np.dtype(np.uint16)}
    assert all((one.picture.canvas_CHW != old.canvas_CHW).mean() < 0.5 for one, old in zip(made, deep, strict=True))


def test_found_is_what_rises_above_the_threshold(extractor: FeatureExtraction, pictures: list[SegmentImage]) -> None:
    fitted = Anomaly().fit([extractor.grid(picture) for picture in pictures])
    made = with_synthetic_defects(pictures[:8], seed=0)
    drawn = sum(len(one.defects) for one in made)
    maps = [distances(fitted.banks, extractor.grid(one.picture)) for one in made]
    many = sensitivity(fitted, maps, made)
    assert many.defects == drawn
    assert many.found > drawn / 3
    blind = replace(fitted, scale=replace(fitted.scale, maxima_S=fitted.scale.maxima_S * 100))
    assert sensitivity(blind, maps, made) == (0, drawn)
    known = {one.picture.image: map_Fhw for one, map_Fhw in zip(made, maps, strict=True)}
    assert sensitivity(replace(fitted, known=known), maps, made) == (0, drawn), "marked without a defect too"
