import numpy as np
import pytest

from dinocli.quality.copy_threshold import BORDERLINE, CLEAR, copy_threshold


def test_the_bulk_of_cosines_excludes_copies() -> None:
    random = np.random.default_rng(0)
    bulk = np.tanh(random.normal(0.5, 0.1, 300))
    found = copy_threshold(np.concatenate([bulk, np.full(60, 0.95), np.ones(10)]))
    assert found.centre == pytest.approx(0.5, abs=0.05)
    assert found.spread == pytest.approx(0.1, abs=0.04)
    assert bulk.max() < found.cosine(CLEAR) < 0.95
    np.testing.assert_allclose(found.deviations(np.array([found.cosine(3.0)])), 3)


def test_a_folder_of_one_kind_needs_nearer_pairs() -> None:
    random = np.random.default_rng(0)
    photos, plates = (copy_threshold(np.tanh(random.normal(level, 0.1, 300))) for level in (0.5, 1.8))
    assert photos.cosine(CLEAR) < 0.85 < 0.95 < plates.cosine(CLEAR)


def test_needed_pixel_similarity_falls_with_the_distance_of_a_pair() -> None:
    found = copy_threshold(np.tanh(np.random.default_rng(0).normal(0.5, 0.1, 300)))
    cosines = np.array([found.cosine(BORDERLINE), found.cosine(CLEAR), found.cosine(20)])
    np.testing.assert_allclose(found.needed(cosines, np.zeros(5)), [0.9, 0.6, 0.4])
    assert (found.needed(cosines, np.full(5, 0.96)) >= 0.97).all(), "parts from one mould are alike anyway"


def test_few_pairs_give_a_high_threshold() -> None:
    assert copy_threshold(np.empty(0)).cosine(CLEAR) > 0.99
    assert copy_threshold(np.ones(5)).cosine(CLEAR) > 0.99
