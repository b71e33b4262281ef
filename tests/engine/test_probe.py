import json

import numpy as np
import pytest

from dinocli.engine.probe import probe_indices
from dinocli.quality.probe_result import ProbeResult, Scores


@pytest.mark.parametrize(("images", "wanted"), [(100, 30), (60, 30), (5_000, 1_000)])
def test_guard_and_verdict_share_no_image_where_there_are_enough(images: int, wanted: int) -> None:
    guard, verdict = probe_indices(images, wanted, seed=0)
    assert len(guard) == len(verdict) == wanted
    assert not set(guard) & set(verdict)


@pytest.mark.parametrize(("images", "wanted"), [(8, 30), (40, 30), (1, 8), (59, 30)])
def test_both_samples_of_a_small_folder_are_all_images(images: int, wanted: int) -> None:
    guard, verdict = probe_indices(images, wanted, seed=0)
    assert len(guard) == len(verdict) == min(images, wanted)
    assert set(guard) | set(verdict) == set(range(images)), "every image is used by one of them"


def test_choices_are_sorted_without_repetition_and_a_function_of_the_seed() -> None:
    first, again, other = (probe_indices(500, 50, seed) for seed in (0, 0, 1))
    assert first == again != other
    for indices in first:
        assert indices == sorted(set(indices))
        assert 0 <= indices[0] <= indices[-1] < 500


def test_probe_result_json_round_trip() -> None:
    result = ProbeResult(
        7, Scores(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, finite=True), np.array([1.0, 0.25]), np.array([0.5, 0.75]), np.ones(2)
    )
    back = ProbeResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert (back.step, back.scores) == (result.step, result.scores)
    assert np.array_equal(back.values_N, result.values_N)
    assert np.array_equal(back.defects_N, result.defects_N)
    assert np.array_equal(back.rare_defects_N, result.rare_defects_N)
