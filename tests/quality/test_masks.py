import math

import numpy as np
import pytest

from dinocli.quality.masks import Overlap, head_overlap, mean_estimate, overall, overlap


def test_overlap_by_hand() -> None:
    truth = np.array([[1, 1, 0], [0, 1, 0]], bool)
    mask = np.array([[1, 0, 1], [0, 1, 0]], bool)
    found = overlap(truth, mask)
    assert found == Overlap(both=2, either=4, mask=3, truth=3)
    assert found.iou == 2 / 4
    assert found.dice == pytest.approx(4 / 6)


def test_dice_and_iou_say_the_same() -> None:
    random = np.random.default_rng(0)
    for share in (0.05, 0.3, 0.9):
        found = overlap(random.random((20, 30)) < 0.4, random.random((20, 30)) < share)
        assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))


def test_an_empty_prediction_of_an_empty_mask_is_correct() -> None:
    empty, some = np.zeros((4, 5), bool), np.eye(4, 5, dtype=bool)
    assert (overlap(empty, empty).iou, overlap(empty, empty).dice) == (1, 1)
    assert (overlap(empty, some).iou, overlap(some, empty).dice) == (0, 0)


def test_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not lie on"):
        overlap(np.zeros((4, 5), bool), np.zeros((5, 4), bool))


def test_the_best_head_is_chosen_for_each_object() -> None:
    objects = np.array([[1, 1, 0, 7, 7, 7]])
    heads = np.array([[[1, 1, 0, 0, 0, 0]], [[0, 0, 0, 0, 1, 1]], [[0, 0, 1, 0, 0, 0]]], bool)
    found = head_overlap(objects, heads)
    assert found.best == pytest.approx((1 + 2 / 3) / 2)
    assert found.mean == pytest.approx((1 + 2 / 3) / 6)
    assert math.isnan(head_overlap(np.zeros((1, 6), int), heads).best)


def test_overall_score_weights_pixels_and_the_mean_weights_images() -> None:
    small, large = Overlap(1, 2, 1, 2), Overlap(0, 98, 49, 49)
    assert overall([small, large]).value == 1 / 100
    assert overall([small, large], dice=True).value == pytest.approx(2 / 101)
    assert mean_estimate([small.iou, large.iou]).value == 0.25


def test_intervals_follow_the_number_of_images() -> None:
    random = np.random.default_rng(0)
    few, many = mean_estimate(random.random(20).tolist()), mean_estimate(random.random(2000).tolist())
    assert many.low < 0.5 < many.high
    assert 5 < (few.high - few.low) / (many.high - many.low) < 20  # about sqrt(100)
    assert many.high - many.low == pytest.approx(2 * 1.96 * math.sqrt(1 / 12 / 2000), rel=0.15)


def test_images_without_a_value_are_left_out() -> None:
    assert mean_estimate([1.0, float("nan")]) == (1, 1, 1)
    assert all(map(math.isnan, mean_estimate([float("nan")])))
    assert all(map(math.isnan, overall([])))


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(0).random(30).tolist()
    assert mean_estimate(values) == mean_estimate(values)
