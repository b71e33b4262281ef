import numpy as np
import pytest

from dinocli.quality.image_scores import confusion, image_score, image_scores


def test_confusion_and_scores_of_images_by_hand() -> None:
    defective = [True, True, True, False, False]
    flagged = [True, True, False, True, False]
    assert confusion(defective, flagged) == (2, 1, 1, 1)
    scores = image_scores([0.9, 0.8, 0.3, 0.7, 0.1], defective, flagged)
    assert scores["image AUROC"].value == pytest.approx(5 / 6)
    assert scores["image F1"].value == pytest.approx(2 * 2 / 6)
    assert scores["good images empty"].value == 0.5
    assert scores["image F1"].low <= scores["image F1"].value <= scores["image F1"].high


def test_one_kind_of_images_has_no_auroc() -> None:
    scores = image_scores([0.9, 0.8], [True, True], [True, False])
    assert np.isnan(scores["image AUROC"].value)
    assert np.isnan(scores["good images empty"].value)


def test_the_score_of_an_image_is_the_mean_of_its_top_percent() -> None:
    map_hw = np.arange(1000, dtype=np.float64).reshape(20, 50)
    assert image_score(map_hw) == pytest.approx(np.mean(range(990, 1000)))
    assert image_score(np.ones((2, 2))) == 1
