"""Scores of masks over a folder."""

import numpy as np
import pytest

from dinocli.quality.mask_scorer import MaskScorer


@pytest.mark.parametrize("dense", [False, True])
def test_good_images_do_not_raise_the_mean_overlap(dense: bool) -> None:
    """Half of the images are good: a method that marks nothing has a Dice of 0, not of 0.5."""
    scorer, empty, defect = MaskScorer(), np.zeros((8, 8), np.int64), np.eye(8, dtype=np.int64)
    for truth_HW in (empty, defect, empty, defect):
        labels_HW = np.full((8, 8), 1, np.uint16) if dense else np.zeros((8, 8), np.uint16)
        scorer.add(truth_HW, labels_HW, np.zeros((8, 8), np.float32), dense=dense)
    name = "best segment Dice" if dense else "Dice"
    expected = 2 * 8 / (64 + 8) if dense else 0.0
    assert scorer.scores()[name].value == pytest.approx(expected)


def test_a_folder_without_an_object_has_no_mean_overlap() -> None:
    scorer = MaskScorer()
    scorer.add(np.zeros((8, 8), np.int64), np.zeros((8, 8), np.uint16), np.zeros((8, 8), np.float32), dense=False)
    assert not {"IoU", "Dice"} & set(scorer.scores())
