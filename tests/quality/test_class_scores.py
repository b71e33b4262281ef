import numpy as np
import pytest

from dinocli.quality.class_scores import class_scores, most_confused

LABELS = np.array(["a", "a", "a", "b", "b", "c"])
GUESS = np.array(["a", "b", "b", "b", "a", "a"])


def test_scores_by_hand() -> None:
    found = class_scores(LABELS, GUESS, np.array(["a", "b", "c"]))
    assert found.confusion_CC.tolist() == [[1, 2, 0], [1, 1, 0], [1, 0, 0]]
    assert found.precision_C == pytest.approx([1 / 3, 1 / 3, 0])
    assert found.recall_C == pytest.approx([1 / 3, 1 / 2, 0])
    assert found.f1_C == pytest.approx([1 / 3, 2 / 5, 0])


def test_confusions_come_largest_first_and_never_empty() -> None:
    confusion = class_scores(LABELS, GUESS, np.array(["a", "b", "c"])).confusion_CC
    assert most_confused(confusion, 9) == [(0, 1), (1, 0), (2, 0)]
    assert most_confused(confusion, 1) == [(0, 1)]
    assert most_confused(np.diag([5, 6]), 9) == []
